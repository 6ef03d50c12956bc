"""One subscriber: what it is told, in which order, and what it is spared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import AsyncClient, override_settings

import turbo
from tests.support.clients import Socket, cookies_of
from tests.testapp.models import Room
from tests.testapp.streams import Announcements, Counter
from turbo.delivery.hub import get_hub
from turbo.delivery.names import sign, stream_id
from turbo.replay import get_replay
from turbo.replay.memory import MemoryReplay
from turbo.runtime import log_once

pytestmark = pytest.mark.django_db(transaction=True)


class Log(MemoryReplay):
    """A memory log that cannot tell what some streams hold."""

    unknown: ClassVar[set[str]] = set()
    reads: ClassVar[list[str]] = []

    async def read(self, requests: Any) -> Any:
        Log.reads += [sid for sid, _ in requests]
        if Log.unknown.intersection(sid for sid, _ in requests):
            raise ConnectionError("no log")
        return await super().read(requests)


@pytest.fixture(autouse=True)
def _log() -> Iterator[None]:
    Log.unknown.clear()
    Log.reads.clear()
    with override_settings(TURBO={"REPLAY_BACKEND": f"{__name__}.Log"}):
        yield


@pytest.fixture
def ann() -> User:
    return User.objects.create(username="ann")


@pytest.fixture
def cellar(ann: User) -> Room:
    room = Room.objects.create(name="Cellar", public=False)
    room.members.add(ann)
    return room


def told(frames: list[dict[str, Any]]) -> list[str]:
    """Return of each answer its reason, or that it is a subscription."""
    return [frame.get("reason") or frame["type"] for frame in frames]


def subscribers(stream: Any) -> int:
    return get_hub().subscribers().get(stream.stream_id, 0)


# --- Answers


async def test_refusals_come_before_the_subscriptions_each_in_their_order(
    ann: User, cellar: Room
) -> None:
    names = [
        Counter(1).sign(ann),
        "nonsense",
        cellar.stream.sign(ann),
        sign("testapp:RoomStream:999"),
    ]

    async with Socket(ann) as socket:
        answers = await socket.subscribe(*names)

    assert told(answers) == ["forged", "gone", "subscribed", "subscribed"]
    assert [a["name"] for a in answers] == [names[1], names[3], names[0], names[2]]


async def test_a_frame_that_makes_no_sense_is_answered_and_survived() -> None:
    async with Socket() as socket:
        await socket.send_text("{")
        error = await socket.receive()
        answers = await socket.subscribe(Counter(1).signed_stream_name)

    assert (error["type"], error["reason"]) == ("error", "malformed")
    assert told(answers) == ["subscribed"]


async def test_the_answer_to_an_arrival_is_followed_by_what_was_missed() -> None:
    stream = Counter(1)
    names = [stream.signed_stream_name, stream.sign(since=get_replay().moment())]
    async with Socket() as socket:
        (answer,) = await socket.subscribe(names[0])
        stream.update(text="a", id="x")
        stream.update(text="b", id="x")
        await socket.messages(2)

        await socket.send(
            type="subscribe",
            streams=[{"name": names[1], "since": answer["position"]}],
        )
        frames = [await socket.receive() for _ in range(3)]

    assert [frame["type"] for frame in frames] == ["subscribed", "message", "message"]
    assert frames[0]["position"] == answer["position"]


async def test_a_page_that_has_missed_more_than_fits_gets_a_gap() -> None:
    """Regression: it was closed as slow whenever it came back."""
    log = {"REPLAY_BACKEND": f"{__name__}.Log"}
    with override_settings(TURBO=log | {"QUEUE_BYTES": 1_000}):
        since = get_replay().moment()
        large, small = (Counter(n).sign(since=since) for n in range(2))
        async with Socket() as socket:
            await socket.subscribe(large, small)
            Counter(0).update(text="x" * 1_000, id="x")
            Counter(1).update(text="x", id="x")
            await socket.messages(2)
        async with Socket() as socket:
            [lost] = await socket.subscribe(large, since=since)
            [found] = await socket.subscribe(small, since=since)
            assert len(await socket.messages()) == 1

    assert (lost["recovered"], lost["position"][-2:]) == (False, ":1")
    assert (found["recovered"], found["position"][-2:]) == (True, ":0")


# --- Limits


async def test_history_past_the_budget_is_not_even_read() -> None:
    with override_settings(
        TURBO={
            "REPLAY_BACKEND": f"{__name__}.Log",
            "CONNECTION_LIMITS": {"REPLAY_BYTES": 1},
        }
    ):
        since = get_replay().moment()
        seen, unseen = (Counter(n).sign(since=since) for n in range(2))
        async with Socket() as socket:
            await socket.subscribe(Counter(0).signed_stream_name)
            Counter(0).update(text="a", id="x")
            await socket.messages()
            await socket.subscribe(seen, since=since)
            await socket.messages()
            answers = await socket.subscribe(unseen, since=since)

    assert [(a["type"], a["reason"]) for a in answers] == [("retry", "limit")]
    assert Counter(1).stream_id not in Log.reads


async def test_names_over_the_limit_are_denied_and_the_others_admitted() -> None:
    names = [Counter(n).signed_stream_name for n in range(4)]
    with override_settings(TURBO={"MAX_STREAMS": 2}):
        async with Socket() as socket:
            first = await socket.subscribe(*names[:1])
            second = await socket.subscribe("nonsense", names[1])
            third = await socket.subscribe(names[2], names[0])

    assert told(first) == ["subscribed"]
    assert told(second) == ["forged", "subscribed"]
    assert told(third) == ["limit", "subscribed"]


async def test_a_page_over_the_limit_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_once, "_last", {})
    names = [Counter(n).signed_stream_name for n in range(4)]

    with override_settings(TURBO={"MAX_STREAMS": 2}):
        async with Socket() as socket:
            await socket.subscribe(*names[:2])
            assert told(await socket.subscribe(*names[2:])) == ["limit", "limit"]

    assert caplog.messages == [
        "A page asked for more than 2 streams; the others are refused. Use fewer "
        "streams, such as one for a whole list, or raise TURBO['MAX_STREAMS']."
    ]


async def test_who_leaves_makes_room() -> None:
    one, other = (Counter(n).signed_stream_name for n in range(2))
    with override_settings(TURBO={"MAX_STREAMS": 1}):
        async with Socket() as socket:
            await socket.subscribe(one)
            assert told(await socket.subscribe(other)) == ["limit"]
            await socket.send(type="unsubscribe", streams=[one])
            left = await socket.receive()
            answers = await socket.subscribe(other)

    assert left == {"type": "unsubscribed", "name": one}
    assert told(answers) == ["subscribed"]


# --- Outages


async def test_during_an_outage_each_name_is_asked_to_come_again() -> None:
    stream = Announcements()
    names = [stream.signed_stream_name, Counter(1).signed_stream_name]
    async with Socket() as socket:
        Log.unknown.add(stream.stream_id)
        answers = await socket.subscribe(*names)
        Log.unknown.clear()
        again = await socket.subscribe(*names)
        stream.update(text="a", id="x")
        messages = await socket.messages()

    assert [(a["type"], a["name"]) for a in answers] == [("retry", n) for n in names]
    assert told(answers) == ["unavailable"] * 2
    assert told(again) == ["subscribed"] * 2
    assert len(messages) == 1


async def test_who_must_come_again_hears_nothing_until_then() -> None:
    stream = Counter(1)
    signed = stream.signed_stream_name
    async with Socket() as socket:
        await socket.subscribe(signed)
        Log.unknown.add(stream.stream_id)

        answers = await socket.subscribe(signed)
        stream.update(text="a", id="x")
        left = subscribers(stream)

    assert told(answers) == ["unavailable"]
    assert left == 0


# --- Two names for one stream


@pytest.fixture
def names(ann: User) -> list[str]:
    """Two names for the first counter: one for ann, and one for anybody."""
    return [Counter(1).sign(ann), Counter(1).signed_stream_name]


async def test_a_stream_with_two_names_is_heard_once(
    ann: User, names: list[str]
) -> None:
    async with Socket(ann) as socket:
        answers = await socket.subscribe(*names)
        Counter(1).update(text="a", id="x")
        messages = await socket.messages()
        silent = await socket.nothing()

    assert [a["stream"] for a in answers] == [stream_id("testapp:Counter:[1]")] * 2
    assert (len(messages), silent) == (1, True)


async def test_who_leaves_by_one_name_stays_by_the_other(
    ann: User, names: list[str]
) -> None:
    async with Socket(ann) as socket:
        await socket.subscribe(*names)
        await socket.send(type="unsubscribe", streams=names[:1])
        await socket.receive()
        Counter(1).update(text="a", id="x")
        messages = await socket.messages()

        await socket.send(type="unsubscribe", streams=names[1:])
        await socket.receive()
        left = subscribers(Counter(1))

    assert (len(messages), left) == (1, 0)


async def test_leaving_what_was_never_held_is_confirmed() -> None:
    async with Socket() as socket:
        await socket.send(type="unsubscribe", streams=["nonsense"])
        answer = await socket.receive()

    assert answer == {"type": "unsubscribed", "name": "nonsense"}


# --- Permissions


async def test_a_name_that_is_denied_when_it_is_asked_for_again_is_silent(
    ann: User, cellar: Room
) -> None:
    """Else a page that asks again before the next check would hear for ever."""
    signed = cellar.stream.sign(ann)
    async with Socket(ann) as socket:
        await socket.subscribe(signed)
        await cellar.members.aremove(ann)

        answers = await socket.subscribe(signed)
        left = subscribers(cellar.stream)
        cellar.stream.append(text="x", id="y")
        silent = await socket.nothing()

    assert told(answers) == ["forbidden"]
    assert (left, silent) == (0, True)


async def test_a_denied_name_leaves_the_stream_to_the_other(
    ann: User, names: list[str]
) -> None:
    async with Socket(ann) as socket:
        await socket.subscribe(*names)
        with override_settings(TURBO={"SIGNED_NAME_MAX_AGE": -1}):
            expired = await socket.subscribe(names[0])
        left = subscribers(Counter(1))

    assert told(expired) == ["expired"]
    assert left == 1


async def test_an_order_to_a_page_without_subscriptions_is_passed_over() -> None:
    async with Socket() as socket:
        await get_hub()._recheck()

        assert await socket.nothing()


async def test_who_has_logged_out_meanwhile_is_not_taken_for_who_it_was(
    ann: User, cellar: Room
) -> None:
    """The connection is older than the end of the session."""
    client = AsyncClient()
    await client.aforce_login(ann)
    signed = cellar.stream.sign(ann)
    async with Socket(headers=[cookies_of(client)]) as socket:
        first = await socket.subscribe(signed)
        await client.get("/logout/")
        ended = await socket.receive()
        again = await socket.subscribe(signed)

    assert told([*first, ended, *again]) == ["subscribed", "revoked", "foreign"]


async def test_a_user_whom_nothing_has_asked_for_is_found_to_be_revoked(
    ann: User,
) -> None:
    """A page that is open to everybody is the user's all the same."""
    client = AsyncClient()
    await client.aforce_login(ann)
    async with Socket(headers=[cookies_of(client)]) as socket:
        await socket.subscribe(Announcements().signed_stream_name)
        await sync_to_async(turbo.revoke)(user=ann)

        assert told([await socket.receive()]) == ["revoked"]


async def test_who_leaves_while_being_checked_hears_no_more_after_the_goodbye(
    ann: User, cellar: Room
) -> None:
    signed = cellar.stream.sign(ann)
    async with Socket(ann) as socket:
        await socket.subscribe(signed)
        await cellar.members.aremove(ann)
        await get_hub()._recheck()
        await socket.send(type="unsubscribe", streams=[signed])
        answer = await socket.receive()
        if answer["type"] == "denied":  # the check was first
            answer = await socket.receive()

        assert answer["type"] == "unsubscribed"
        assert await socket.nothing()
