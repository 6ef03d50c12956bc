"""The frames of one message for several audiences."""

from __future__ import annotations

import json
from typing import Any

import pytest

from turbo.delivery.audiences import AudienceFrames, by_audience, frames_of, pack_forms
from turbo.delivery.envelope import Envelope
from turbo.delivery.frame import Frame
from turbo.delivery.marked import mark, plain, unmark
from turbo.delivery.topic import Topic, encode
from turbo.replay.base import Entry, History

SID = "z7r3"
FORMS = {"member": "<b>", "moderator": "<i>"}


class Page:
    def __init__(self) -> None:
        self.frames: list[Any] = []

    def deliver(self, frame: Frame) -> None:
        self.frames.append(json.loads(frame.text))

    @property
    def data(self) -> list[str | None]:
        return [frame.get("data") for frame in self.frames]


@pytest.fixture
def topic() -> Topic:
    topic = Topic(SID)
    topic.epoch, topic.backlog = "k3", None
    return topic


def join(topic: Topic, audience: str) -> Page:
    page = Page()
    topic.admit(page, History("k3", topic.number), audience=audience)
    return page


def test_each_audience_gets_its_form_under_the_same_number(topic: Topic) -> None:
    member, moderator = join(topic, "member"), join(topic, "moderator")

    topic.take(Envelope(SID, "k3", 1, (pack_forms(FORMS), "<p>")))

    assert member.data == ["<b>", "<p>"]
    assert moderator.data == ["<i>", "<p>"]
    places = [
        [frame["position"] for frame in page.frames] for page in (member, moderator)
    ]
    assert places == [["k3:1", "k3:2"]] * 2


def test_who_gets_nothing_gets_the_number_and_who_lost_its_form_a_gap(
    topic: Topic,
) -> None:
    member, moderator = join(topic, "member"), join(topic, "moderator")

    topic.take(Envelope(SID, "k3", 1, (pack_forms({"member": "", "moderator": None}),)))

    assert member.frames == [
        {"type": "message", "stream": SID, "position": "k3:1", "data": ""}
    ]
    assert moderator.frames == [{"type": "gap", "stream": SID, "position": "k3:1"}]


@pytest.mark.parametrize(
    "data", [pack_forms(FORMS), mark("later", 1), "\x02{", '\x02["audiences",1]']
)
def test_what_is_not_for_an_audience_in_a_numbered_message_is_a_gap(
    data: str, topic: Topic
) -> None:
    """A process with another version has sent it."""
    page = join(topic, "guest")

    topic.take(Envelope(SID, "k3", 1, (data,)))

    assert [frame["type"] for frame in page.frames] == ["gap"]


def test_in_a_message_without_a_number_it_is_nothing(topic: Topic) -> None:
    page = join(topic, "guest")

    topic.take(Envelope(SID, "", 0, (pack_forms(FORMS),)))

    assert page.data == [""]


def test_who_comes_while_a_message_arrives_gets_its_own_form(topic: Topic) -> None:
    topic.claims = 1
    topic.take(Envelope(SID, "k3", 1, (pack_forms(FORMS),)))

    arrival = topic.admit(Page(), History("k3", 0), audience="moderator")

    assert [json.loads(frame.text)["data"] for frame in arrival.frames] == ["<i>"]


async def test_a_history_has_the_forms_of_one_audience() -> None:
    history = History("k3", 2, (Entry(1, pack_forms(FORMS)), Entry(2, "<p>")))

    [missed] = await encode([(SID, history)], {SID: "member"})

    assert [json.loads(frame.text)["data"] for _, frame in missed] == ["<b>", "<p>"]


def test_a_repair_delivers_the_forms(topic: Topic) -> None:
    member, moderator = join(topic, "member"), join(topic, "moderator")
    topic.hold()

    topic.repair(History("k3", 1, (Entry(1, pack_forms(FORMS)),)))

    assert [member.data, moderator.data] == [["<b>"], ["<i>"]]


def test_a_frame_is_made_once_for_each_audience_that_is_there() -> None:
    frames = frames_of(SID, "k3:1", pack_forms(FORMS))

    assert isinstance(frames, AudienceFrames)
    assert frames.of("member") is frames.of("member")
    assert isinstance(frames_of(SID, "k3:1", "<p>"), Frame)
    assert isinstance(frames_of(SID, "k3:1", None), Frame)


def test_marked_data_survives_what_it_carries() -> None:
    value = {"member": 'é"\\\n\x02</template>\u2028', "moderator": None}

    assert unmark(mark("audiences", value)) == ("audiences", value)
    assert by_audience(mark("audiences", value)) == value


def test_only_this_library_marks_data() -> None:
    marked = mark("audiences", FORMS)

    assert plain(marked) is marked
    assert unmark(plain(str.__str__(f"{marked}"))) is None
    assert unmark(plain("\x02\x02[]")) is None
