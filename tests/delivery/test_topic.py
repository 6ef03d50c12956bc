"""A topic delivers every message once, in order, to whoever is subscribed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from turbo import metrics
from turbo.delivery.envelope import Envelope
from turbo.delivery.frame import Frame
from turbo.delivery.marked import mark
from turbo.delivery.topic import MissedFrames, Topic, encode
from turbo.replay.base import Entry, History


class Listener:
    """A subscriber that keeps what it is told."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []

    def deliver(self, frame: Frame) -> None:
        self.frames.append(json.loads(frame.text))

    @property
    def heard(self) -> list[str]:
        return [f.get("data") or f["type"] for f in self.frames]


def live(number: int, *data: str | None, epoch: str = "e") -> Envelope:
    return Envelope("sid", epoch, number, data)


def history(tip: int, *entries: tuple[int, str], epoch: str = "e") -> History:
    return History(epoch, tip, tuple(Entry(n, data) for n, data in entries))


def arriving(
    listener: Listener, given: History
) -> tuple[Listener, History, MissedFrames]:
    """Return a listener with its history, encoded as the hub does."""
    [missed] = asyncio.run(encode([("sid", given)]))
    return listener, given, missed


def admit(topic: Topic, listener: Listener, given: History) -> list[str]:
    """Subscribe as the hub does; return what the listener is told first."""
    topic.claims += 1
    arrival = topic.admit(*arriving(listener, given))
    topic.unclaim()
    for envelope in topic.resume():
        topic.take(envelope)
    return [json.loads(frame.text)["data"] for frame in arrival.frames]


@pytest.fixture
def topic() -> Topic:
    topic = Topic("sid")
    return topic


def test_messages_arrive_in_order_with_their_positions(topic: Topic) -> None:
    listener = Listener()
    admit(topic, listener, history(3))

    repair = topic.take(live(4, "a", "b"))

    assert not repair
    assert listener.frames == [
        {"type": "message", "stream": "sid", "position": "e:4", "data": "a"},
        {"type": "message", "stream": "sid", "position": "e:5", "data": "b"},
    ]
    assert topic.position == "e:5"


def test_a_message_that_comes_twice_is_delivered_once(topic: Topic) -> None:
    listener = Listener()
    admit(topic, listener, history(0))

    topic.take(live(1, "a"))
    topic.take(live(1, "a", "b"))

    assert listener.heard == ["a", "b"]


def test_a_marked_gap_is_delivered_as_one(topic: Topic) -> None:
    listener = Listener()
    admit(topic, listener, history(0))

    topic.take(live(1, None))

    assert listener.frames == [{"type": "gap", "stream": "sid", "position": "e:1"}]


def test_an_arrival_says_where_its_history_starts(topic: Topic) -> None:
    topic.claims += 1
    arrival = topic.admit(*arriving(Listener(), history(3, (2, "b"), (3, "c"))))

    assert (arrival.position, arrival.recovered) == ("e:1", True)
    assert [json.loads(f.text)["position"] for f in arrival.frames] == ["e:2", "e:3"]
    assert (arrival.as_gap().position, arrival.as_gap().recovered) == ("e:3", False)


def test_an_arrival_without_history_stands_at_the_tip(topic: Topic) -> None:
    arrival = topic.admit(*arriving(Listener(), history(3)))

    assert (arrival.position, arrival.frames) == ("e:3", ())


def test_an_incomplete_history_is_told_as_such(topic: Topic) -> None:
    before = metrics.counters()["gaps"]

    arrival = topic.admit(Listener(), History("e", 9, (), complete=False))

    assert (arrival.position, arrival.recovered) == ("e:9", False)
    assert metrics.counters()["gaps"] == before + 1


def test_what_arrives_before_the_position_is_known_follows_the_history(
    topic: Topic,
) -> None:
    listener = Listener()
    topic.claims += 1
    topic.take(live(3, "c"))
    topic.take(live(4, "d"))

    arrival = topic.admit(*arriving(listener, history(3, (2, "b"), (3, "c"))))
    topic.unclaim()
    for envelope in topic.resume():
        topic.take(envelope)

    assert [json.loads(f.text)["data"] for f in arrival.frames] == ["b", "c"]
    assert listener.heard == ["d"]


def test_what_arrives_while_the_history_is_read_follows_it(topic: Topic) -> None:
    first, second = Listener(), Listener()
    admit(topic, first, history(1))
    topic.claims += 1
    topic.take(live(2, "b"))
    topic.take(live(3, "c"))

    arrival = topic.admit(*arriving(second, history(2, (2, "b"))))
    topic.unclaim()
    topic.take(live(4, "d"))

    assert [json.loads(f.text)["data"] for f in arrival.frames] == ["b", "c"]
    assert (first.heard, second.heard) == (["b", "c", "d"], ["d"])


def test_a_history_ahead_of_the_live_messages_is_not_repeated(topic: Topic) -> None:
    first, second = Listener(), Listener()
    admit(topic, first, history(1))

    replayed = admit(topic, second, history(3, (2, "b"), (3, "c")))
    topic.take(live(2, "b", "c", "d"))

    assert (replayed, second.heard) == (["b", "c"], ["d"])
    assert first.heard == ["b", "c", "d"]


def test_a_hole_asks_for_a_repair_and_holds_what_follows(topic: Topic) -> None:
    listener = Listener()
    admit(topic, listener, history(1))

    assert topic.take(live(3, "c"))
    assert not topic.take(live(4, "d"))
    assert listener.heard == []
    for envelope in topic.repair(history(3, (2, "b"), (3, "c"))):
        topic.take(envelope)

    assert listener.heard == ["b", "c", "d"]


def test_a_repair_that_proves_nothing_is_a_gap(topic: Topic) -> None:
    listener = Listener()
    admit(topic, listener, history(1))
    topic.take(live(9, "x"))

    topic.repair(History("e", 9, (), complete=False))

    assert listener.frames == [{"type": "gap", "stream": "sid", "position": "e:9"}]


def test_a_new_epoch_is_a_gap_for_all_and_for_those_ahead(topic: Topic) -> None:
    first, second = Listener(), Listener()
    admit(topic, first, history(1))
    admit(topic, second, history(5, (2, "b")))

    assert topic.take(live(1, "x", epoch="f"))
    topic.repair(History("f", 1, (), complete=False))
    topic.take(live(2, "y", epoch="f"))

    assert (first.heard, second.heard) == (["gap", "y"], ["gap", "y"])


def test_an_arrival_from_another_epoch_must_refresh(topic: Topic) -> None:
    admit(topic, Listener(), history(1))

    arrival = topic.admit(*arriving(Listener(), history(1, epoch="f")))

    assert not arrival.recovered


def test_a_repair_without_a_log_changes_nothing(topic: Topic) -> None:
    listener = Listener()
    admit(topic, listener, history(0, epoch=""))

    topic.hold()
    topic.repair(History("", 0))

    assert listener.heard == []
    assert topic.position == ""


def test_a_log_that_knows_nothing_repairs_nothing(topic: Topic) -> None:
    listener = Listener()
    admit(topic, listener, history(1))
    topic.take(live(3, "c"))

    kept = topic.repair(History("", 0, (), complete=False))

    assert (kept, listener.heard) == ([live(3, "c")], [])


def test_without_positions_messages_are_passed_on(topic: Topic) -> None:
    listener = Listener()
    admit(topic, listener, history(0, epoch=""))

    topic.take(Envelope("sid", "", 0, ("a", "a")))

    assert (
        listener.frames
        == [{"type": "message", "stream": "sid", "position": "", "data": "a"}] * 2
    )


def test_who_was_dropped_hears_nothing(topic: Topic) -> None:
    listener = Listener()
    admit(topic, listener, history(0))

    topic.drop(listener)
    topic.take(live(1, "a"))

    assert listener.heard == []
    assert topic.idle


def test_a_tip_that_was_not_seen_is_missed(topic: Topic) -> None:
    admit(topic, Listener(), history(1))

    assert not topic.misses(("e", 1), 1)
    assert not topic.misses(("e", 1), 0)
    assert not topic.misses(("e", 0), 0), "another one came while the log was asked"
    assert topic.misses(("e", 2), 1)
    assert topic.misses(("e", 0), 1)
    assert topic.misses(("f", 1), 1)
    assert topic.misses(None, 1)
    topic.hold()
    assert not topic.misses(None, 1)


def test_hold_drops_what_is_in_the_log(topic: Topic) -> None:
    topic.take(live(1, "a"))

    topic.hold()
    topic.take(live(2, "b"))

    assert topic.resume() == [live(2, "b")]


def test_what_waits_for_a_repair_is_bounded(topic: Topic) -> None:
    """Regression: while the log was away and the layer was not, it grew."""
    admit(topic, Listener(), history(0))
    topic.hold()
    for number in range(1, 302):
        topic.take(live(number, "a"))

    first, *_, last = topic.repair(history(0))

    assert (first.number, last.number) == (202, 301)
    assert topic.take(first)


async def test_others_have_their_turn_while_a_long_history_is_encoded() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.ensure_future(count())
    long = history(100, *((number, "x" * 10_000) for number in range(1, 101)))
    [missed] = await encode([("sid", long)])
    counting.cancel()

    assert [number for number, _ in missed] == list(range(1, 101))
    assert turns >= 10


def test_whispers_go_to_all_but_who_whispers_in_one_frame(topic: Topic) -> None:
    listeners = [Listener() for _ in range(3)]
    for number, listener in enumerate(listeners):
        listener.id = f"page{number}"  # type: ignore[attr-defined]
        admit(topic, listener, history(3))

    topic.take(live(0, mark("whisper", [["page0", "<a>"], ["page1", "<b>"]]), epoch=""))
    topic.take(live(0, mark("whisper", [["page2", "<c>"]]), epoch=""))

    heard = [listener.heard for listener in listeners]
    assert heard == [["<b>", "<c>"], ["<a>", "<c>"], ["<a><b>"]]
    assert {frame["position"] for frame in listeners[2].frames} == {""}
    assert topic.position == "e:3"


@pytest.mark.parametrize("value", [7, [7], [["page0"]], [["page0", None]], {}])
@pytest.mark.parametrize("kind", ["whisper", "later"])
def test_marked_data_of_another_version_are_dropped(
    topic: Topic, kind: str, value: object
) -> None:
    """Nobody knows whom they are for."""
    listener = Listener()
    admit(topic, listener, history(3))
    before = metrics.counters()["unreadable"]

    topic.take(live(0, mark(kind, value), epoch=""))

    assert listener.frames == []
    assert metrics.counters()["unreadable"] == before + 1
