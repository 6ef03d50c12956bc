"""The replay logs that need no server, and the parts that they are made of."""

from __future__ import annotations

import pytest

from tests.support.replay_backends import position, read_one, send, texts
from turbo.replay import Append, Appended, History
from turbo.replay.clock import DRIFT, LIFETIME, MARGIN, Reading
from turbo.replay.dummy import DummyReplay
from turbo.replay.local import ExpiringKeys
from turbo.replay.memory import MemoryReplay
from turbo.replay.texts import MemoryTexts, Put, TextPlace


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


# --- Memory


async def test_memory_forgets_the_stream_not_used_for_longest() -> None:
    """It comes back with a new epoch, so its pages find a gap."""
    log = MemoryReplay(streams=2)
    await send(log, "a", "1")
    await send(log, "b", "1")
    since = await position(log, "a")

    await send(log, "c", "1")
    await send(log, "a", "2")

    assert [tip is None for tip in await log.tips(["a", "b", "c"])] == [
        False,
        True,
        False,
    ]
    assert texts(await read_one(log, "a", since)) == ["2"]


async def test_memory_knows_which_moments_it_has_forgotten() -> None:
    """A moment after the last message of a forgotten stream is not concerned."""
    log = MemoryReplay(streams=1)
    early = log.moment()
    await send(log, "a", "1")
    late = log.moment()

    await position(log, "b")

    assert not (await read_one(log, "a", early)).complete
    assert texts(await read_one(log, "a", late)) == []


async def test_memory_ages_by_its_clock() -> None:
    """Messages as old as the limit are kept; a silent stream forgets all at once."""
    clock = Clock()
    log = MemoryReplay(age=300, clock=clock)
    since = await position(log, "a")

    await send(log, "a", "1")
    clock.now += 200
    await send(log, "a", "2")
    clock.now += 100
    assert texts(await read_one(log, "a", since)) == ["1", "2"]
    await send(log, "a", "3")
    assert texts(await read_one(log, "a", since)) == ["1", "2", "3"]
    clock.now += 1
    await send(log, "a", "4")
    assert not (await read_one(log, "a", since)).complete
    clock.now += 299
    assert texts(await read_one(log, "a", since.replace(":0", ":1"))) == ["2", "3", "4"]
    clock.now += 1
    assert not (await read_one(log, "a", since.replace(":0", ":1"))).complete
    assert (await read_one(log, "a", since.replace(":0", ":4"))).complete


async def test_memory_is_not_shared() -> None:
    """Two logs have neither epochs nor moments in common."""
    one, two = MemoryReplay(), MemoryReplay()

    assert not (await read_one(one, "a", await position(two, "a"))).complete
    assert not (await read_one(one, "a", two.moment())).complete
    assert not one.supports_processes


# --- Dummy


async def test_dummy_keeps_nothing_and_says_so_nowhere() -> None:
    """A page that were told of a gap would refresh itself for ever."""
    log = DummyReplay.from_settings()
    await log.sync_clock()

    assert await log.append([Append("a", "1")]) == [Appended("", 0)]
    requests = [("a", since) for since in (log.moment(), "", "?", "x:1")]
    assert await log.read(requests) == [History("", 0)] * 4
    assert await log.tips(["a"]) == [("", 0)]
    assert not log.supports_replay
    assert log.check() == []
    await log.aclose()


async def test_dummy_revokes_within_its_process() -> None:
    """Revocations and claims are no matter of replay."""
    log = DummyReplay()

    await log.forbid(["ann"], seconds=60)

    ann, bob = await log.forbidden(["ann", "bob"])
    assert ann is not None
    assert bob is None
    assert await log.claim("refresh", seconds=60) == 0.0
    assert 59 < await log.claim("refresh", seconds=60) <= 60


# --- Keys that expire


def test_expiring_keys_go_away() -> None:
    clock = Clock()
    keys = ExpiringKeys(clock=clock)

    keys.put("a", 1.5, seconds=10)

    assert keys.get("a") == 1.5
    clock.now += 10
    assert keys.get("a") is None


def test_expiring_keys_are_bounded() -> None:
    """What has expired makes room first, then what was put first."""
    clock = Clock()
    keys = ExpiringKeys(limit=3, clock=clock)
    keys.put("long", 1, seconds=100)
    keys.put("short", 2, seconds=1)
    keys.put("middle", 3, seconds=10)
    clock.now += 1

    keys.put("fresh", 4, seconds=100)
    assert [keys.get(key) for key in ("long", "middle", "fresh")] == [1, 3, 4]
    keys.put("last", 5, seconds=100)

    assert [keys.get(key) for key in ("long", "middle", "fresh", "last")] == [
        *(None, 3, 4, 5)
    ]


def test_expiring_keys_put_again_stay_longest() -> None:
    keys = ExpiringKeys(limit=2, clock=Clock())
    keys.put("a", 1, seconds=10)
    keys.put("b", 2, seconds=10)
    keys.put("a", 3, seconds=10)

    keys.put("c", 4, seconds=10)

    assert [keys.get(key) for key in "abc"] == [3, None, 4]


# --- The clock of a host


def test_reading_bounds_the_hosts_clock() -> None:
    """The floor stays below the host's clock, whatever the round trip's asymmetry."""
    lead = 5_000_000
    for answered in (100, 500, 900):
        reading = Reading.take("id", "run", answered + lead, sent=100, received=900)

        assert reading.low <= lead <= reading.high
        assert reading.floor(900) < 900 + lead
        assert reading.floor(900) >= 900 + lead - 800 - MARGIN


def test_reading_allows_for_drift() -> None:
    """The longer ago the reading, the lower the estimate."""
    reading = Reading.take("id", "run", 0, sent=0, received=0)

    assert reading.floor(LIFETIME) == LIFETIME - LIFETIME // DRIFT - MARGIN
    assert reading.is_fresh(LIFETIME)
    assert not reading.is_fresh(LIFETIME + 1)


@pytest.mark.parametrize(
    ("clock", "identity", "behind"),
    [
        (61_000_000, "id", False),
        (61_000_000 - MARGIN // 2 - 30_000, "id", False),
        (61_000_000 - MARGIN // 2 - 30_001, "id", True),
        (90_000_000, "id", False),
        (0, "other", False),
    ],
    ids=["in-time", "slewed", "set-back", "set-forward", "another-host"],
)
def test_reading_shows_a_clock_that_was_set_back(
    clock: int, identity: str, behind: bool
) -> None:
    """A clock that is slowed down is not one that is set back."""
    earlier = Reading.take("id", "run", 1_000_000, sent=0, received=0)

    later = Reading.take(identity, "run", clock, sent=60_000_000, received=60_000_100)

    assert later.is_behind(earlier) is behind


async def test_texts_that_were_not_put_for_longest_are_dropped() -> None:
    """A process that writes for years does not grow."""
    texts = MemoryTexts(age=3_600, limit=2)
    places = [TextPlace("room", f"answer-{number}") for number in range(3)]
    for place in [places[0], places[1], places[0], places[2]]:
        await texts.put([Put(place, "one", 0, 0, "a", 1)])

    found = await texts.read(places)

    assert [written is not None for written in found] == [True, False, True]


async def test_texts_that_are_too_old_are_dropped() -> None:
    """They may be large, and nobody can read them any more."""
    clock = Clock()
    texts = MemoryTexts(age=60, clock=clock)
    for number in range(3):
        await texts.put([Put(TextPlace("room", f"{number}"), "one", 0, 0, "a", 1)])
        clock.now += 30

    assert [place.id for place in texts._held] == ["1", "2"]
