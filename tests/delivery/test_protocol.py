"""A page protocol answers every frame, and never raises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turbo.delivery.protocol import (
    Limits,
    PageProtocol,
    PageSubscription,
    Pinged,
    Refused,
    Subscribe,
    Unsubscribe,
    Wanted,
    message_frame,
)


def frame(**fields: Any) -> str:
    return json.dumps(fields)


def error(event: Any) -> tuple[str, str]:
    assert isinstance(event, Refused)
    answer = json.loads(event.frame)
    assert answer["type"] == "error"
    return answer["reason"], answer["detail"]


@pytest.fixture
def protocol() -> PageProtocol:
    return PageProtocol(Limits(frame_bytes=500, streams=3, name_chars=20))


def accept(protocol: PageProtocol, signed: str, sid: str = "sid") -> str:
    subscription = PageSubscription(signed, "chat:Room", sid)
    return protocol.accept(subscription, position="e:1", recovered=True)


def test_subscribe_gives_the_wanted_names_in_order(protocol: PageProtocol) -> None:
    event = protocol.receive(
        frame(
            type="subscribe",
            streams=[{"name": "b", "since": "e:3"}, {"name": "a"}, {"name": "a"}],
        )
    )

    assert event == Subscribe((Wanted("b", "e:3"), Wanted("a", "")))


def test_accept_holds_the_name_and_says_so(protocol: PageProtocol) -> None:
    answer = accept(protocol, "a")

    assert json.loads(answer) == {
        "type": "subscribed",
        "name": "a",
        "stream": "sid",
        "position": "e:1",
        "recovered": True,
    }
    assert protocol.holds("sid")
    assert not protocol.holds("other")


def test_unsubscribe_ends_what_is_held_and_answers_for_all(
    protocol: PageProtocol,
) -> None:
    accept(protocol, "a")

    event = protocol.receive(frame(type="unsubscribe", streams=["a", "b", "a"]))

    assert event == Unsubscribe(
        (PageSubscription("a", "chat:Room", "sid"),),
        (
            '{"type":"unsubscribed","name":"a"}',
            '{"type":"unsubscribed","name":"b"}',
        ),
    )
    assert not protocol.holds("sid")


def test_deny_and_retry_drop_the_name(protocol: PageProtocol) -> None:
    accept(protocol, "a")
    accept(protocol, "b")

    assert json.loads(protocol.deny("a", reason="revoked")) == {
        "type": "denied",
        "name": "a",
        "reason": "revoked",
    }
    assert json.loads(protocol.retry("b")) == {
        "type": "retry",
        "name": "b",
        "reason": "unavailable",
    }
    assert protocol.subscriptions == {}


def test_ping_is_answered(protocol: PageProtocol) -> None:
    assert protocol.receive('{"type":"ping"}') == Pinged('{"type":"pong"}')


def test_a_message_frame_is_the_same_for_everybody_and_keeps_its_letters() -> None:
    text = message_frame("sid", position="e:2", data="<b>Grüße</b>")

    assert text == (
        '{"type":"message","stream":"sid","position":"e:2","data":"<b>Grüße</b>"}'
    )


def test_a_message_without_data_is_a_gap() -> None:
    text = message_frame("sid", position="e:2", data=None)

    assert text == '{"type":"gap","stream":"sid","position":"e:2"}'


BAD = [
    (None, "binary", "Frames are JSON text, not bytes."),
    ("", "malformed", "The frame is not JSON."),
    ("{", "malformed", "The frame is not JSON."),
    ("[" * 400, "malformed", "The frame is not JSON."),
    ('{"type":"ping","n":NaN}', "malformed", "The frame is not JSON."),
    ('{"type":"ping","n":-1e999}', "malformed", "The frame is not JSON."),
    ("[]", "not_object", "The frame is not a JSON object."),
    ("null", "not_object", "The frame is not a JSON object."),
    ("x" * 501, "too_large", "A frame holds at most 500 bytes."),
    (
        "{}",
        "unknown_type",
        "type is None, not 'subscribe', 'unsubscribe', 'text', 'whisper' or 'ping'.",
    ),
    (
        frame(type="sub" * 100),
        "unknown_type",
        "type is 'subsubsubsubsubsubsubsubsubsubsubsub..., not 'subscribe', "
        "'unsubscribe', 'text', 'whisper' or 'ping'.",
    ),
    (frame(type="subscribe"), "invalid", "'streams' is a list that is not empty."),
    (
        frame(type="subscribe", streams=[]),
        "invalid",
        "'streams' is a list that is not empty.",
    ),
    (
        frame(type="subscribe", streams=["a"]),
        "invalid",
        "Each of 'streams' is an object.",
    ),
    (
        frame(type="subscribe", streams=[{"name": 1}]),
        "invalid",
        "'name' is a string that is not empty.",
    ),
    (
        frame(type="subscribe", streams=[{"name": "a" * 21}]),
        "invalid",
        "'name' holds at most 20 characters.",
    ),
    (
        frame(type="subscribe", streams=[{"name": "a", "since": 3}]),
        "invalid",
        "'since' is a short string.",
    ),
    (
        frame(type="subscribe", streams=[{"name": "a"}] * 4),
        "invalid",
        "'streams' holds at most 3 entries.",
    ),
    (
        frame(type="unsubscribe", streams=[None]),
        "invalid",
        "'name' is a string that is not empty.",
    ),
]


@pytest.mark.parametrize(("text", "reason", "detail"), BAD)
def test_a_bad_frame_is_answered_with_the_reason(
    protocol: PageProtocol, text: str | None, reason: str, detail: str
) -> None:
    accept(protocol, "good")

    assert error(protocol.receive(text)) == (reason, detail)
    assert "good" in protocol.subscriptions


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
near_frames = st.fixed_dictionaries(
    {"type": st.sampled_from(["subscribe", "unsubscribe", "ping", "pong"])},
    optional={"streams": json_values},
)


@given(st.text() | (json_values | near_frames).map(json.dumps))
def test_no_frame_raises_and_every_answer_can_be_sent(text: str) -> None:
    protocol = PageProtocol()

    event = protocol.receive(text)

    frames = getattr(event, "frames", None) or [getattr(event, "frame", "")]
    for answer in frames:
        answer.encode()
