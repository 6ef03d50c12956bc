"""Who is present, as all processes note it: in memory, in Redis, in databases."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio

from tests.support.databases import empty
from tests.support.replay_backends import MakeLog, redis_log
from turbo.database.replay import DatabaseReplay
from turbo.exceptions import ConfigurationError
from turbo.replay import ReplayLog
from turbo.replay.leases import (
    Change,
    Known,
    Lease,
    Leases,
    Look,
    Member,
    MemoryLeases,
    Times,
)
from turbo.replay.memory import MemoryReplay

ROOM = "z7r3l7mdrbvujpqa35bauqyha7"
HALL = "a2k6onl3x4ykqyjvmcyyt7hb4e"
LONG, SHORT = 3_600.0, 0.05
MARK = pytest.mark.processes


@pytest_asyncio.fixture
async def log(make_log: MakeLog) -> AsyncIterator[ReplayLog]:
    log = make_log()
    await log.leases.look({})  # as the first process does
    yield log
    await log.aclose()


@pytest_asyncio.fixture
async def leases(log: ReplayLog) -> Leases:
    """What is told to the application must be settled; nobody else tells it."""
    return log.leases


def lease(member: str, stream: str = ROOM, **options: Any) -> Lease:
    return Lease(stream, member, **({"seconds": LONG} | options))


async def told(leases: Leases) -> list[tuple[str, str, bool]]:
    """Take the changes, and settle them; return them without their tokens."""
    look = await leases.look({})
    await leases.settle(look.changes)
    return sorted(tuple(change[:3]) for change in look.changes)


async def look_on(leases: Leases, until: Callable[[Look], bool]) -> Look:
    """Look until there is something that comes with time."""
    while True:
        if until(look := await leases.look({})):
            return look
        await asyncio.sleep(0.01)


async def next_change(leases: Leases) -> Change:
    """Wait for the next change."""
    [change] = (await look_on(leases, lambda look: bool(look.changes))).changes
    return change


async def told_next(leases: Leases) -> Look:
    """Wait for the next change, and settle it."""
    look = await look_on(leases, lambda look: bool(look.changes))
    await leases.settle(look.changes)
    return look


async def leave(leases: Leases, holder: str, member: str) -> None:
    """Let a member join, if it has not, and end its lease soon."""
    await leases.hold(holder, [lease(member)])
    await told(leases)
    await leases.hold(holder, [lease(member, seconds=SHORT)])


# --- Joining and leaving


async def test_a_member_joins_once_over_its_holders(leases: Leases) -> None:
    assert await leases.hold("one", [lease("ann")])
    assert await leases.hold("two", [lease("ann"), lease("bob")])

    assert await told(leases) == [(ROOM, "ann", True), (ROOM, "bob", True)]
    assert await told(leases) == []
    assert await leases.members([ROOM]) == [["ann", "bob"]]


async def test_streams_have_members_of_their_own(leases: Leases) -> None:
    await leases.hold("one", [lease("ann"), lease("ann", HALL), lease("bob", HALL)])

    assert await leases.members([HALL, ROOM, "other"]) == [["ann", "bob"], ["ann"], []]


async def test_a_member_leaves_when_the_last_lease_has_ended(leases: Leases) -> None:
    await leases.hold("one", [lease("ann")])
    await leases.hold("two", [lease("ann")])
    await told(leases)

    await leases.hold("one", [lease("ann", seconds=SHORT)])
    await leave(leases, "one", "bob")
    left = await next_change(leases)  # both leases have ended by now
    await leases.settle([left])

    assert left[:3] == (ROOM, "bob", False)
    assert await leases.members([ROOM]) == [["ann"]]

    await leases.hold("two", [lease("ann", seconds=SHORT)])
    assert (await next_change(leases))[:3] == (ROOM, "ann", False)
    assert await leases.members([ROOM]) == [[]]


async def test_who_comes_back_in_time_has_not_left(leases: Leases) -> None:
    await leases.hold("one", [lease("ann")])
    await told(leases)

    await leases.hold("one", [lease("ann", seconds=LONG)])
    await leases.hold("two", [lease("ann", seconds=SHORT)])
    await leave(leases, "two", "bob")
    await leases.settle([await next_change(leases)])  # bob has left

    assert await told(leases) == []


async def test_each_change_is_taken_by_one(leases: Leases) -> None:
    """The others get nothing, even while it is being told."""
    names = [f"user{number:03}" for number in range(250)]
    await leases.hold("one", [lease(name) for name in names])

    taken: list[str] = []
    while len(taken) < len(names):
        looks = await asyncio.gather(*[leases.look({}) for _ in range(5)])
        taken += [change.member for look in looks for change in look.changes]

    assert sorted(taken) == names


async def test_the_next_change_waits_until_one_was_told(leases: Leases) -> None:
    """So a leaving cannot overtake the joining before it."""
    await leases.hold("one", [lease("ann")])
    joining = await next_change(leases)
    await leases.hold("one", [lease("ann", seconds=SHORT)])
    await leave(leases, "one", "bob")
    await leases.settle([await next_change(leases)])  # bob has left, and so has ann

    assert (await leases.look({})).changes == ()
    await leases.settle([joining])

    assert (await next_change(leases))[:3] == (ROOM, "ann", False)


async def test_who_joins_while_the_leaving_is_told_joins_again(leases: Leases) -> None:
    await leave(leases, "one", "ann")
    leaving = await next_change(leases)

    await leases.hold("two", [lease("ann")])
    assert await leases.members([ROOM]) == [["ann"]]
    await leases.settle([leaving])

    assert await told(leases) == [(ROOM, "ann", True)]


async def test_who_came_and_went_untold_is_not_told(leases: Leases) -> None:
    """Nobody is told that somebody has left who never was there."""
    await leases.hold("one", [lease("ann", seconds=0.0), lease("bob")])

    assert await told(leases) == [(ROOM, "bob", True)]
    assert await leases.members([ROOM]) == [["bob"]]


async def test_what_a_killed_process_has_taken_is_taken_again(log: ReplayLog) -> None:
    leases = log.leases
    leases.times = Times(tell_again=100_000)
    await leases.hold("one", [lease("ann")])
    first = await next_change(leases)

    second = await next_change(leases)
    await leases.settle([first])  # too late
    third = await next_change(leases)
    await leases.settle([third])

    assert first[:3] == second[:3] == third[:3] == (ROOM, "ann", True)
    assert (await leases.look({})).changes == ()


async def test_what_takes_long_to_tell_is_not_taken_again(log: ReplayLog) -> None:
    """Nor can it be extended when another process has taken it, or when it is told."""
    leases = log.leases
    leases.times = Times(tell_again=100_000)
    await leases.hold("one", [lease("ann"), lease("bob")])
    ann, bob = sorted((await leases.look({})).changes)

    leases.times = Times()
    [extended] = await leases.extend([ann, Change(ROOM, "nobody", True, 1)])
    await leases.settle([await next_change(leases)])  # bob, who is taken again

    assert extended[:3] == ann[:3]
    assert extended.token > ann.token
    assert (await leases.look({})).changes == ()
    await leases.settle([ann])  # no more
    assert await leases.extend([ann, bob]) == []
    await leases.settle([extended])
    assert await leases.extend([extended]) == []
    assert (await leases.look({})).changes == ()


async def test_who_went_while_a_killed_process_told_of_the_joining_leaves(
    log: ReplayLog,
) -> None:
    """Nobody knows whether it has told, so pages may show that member."""
    leases = log.leases
    leases.times = Times(tell_again=100_000)
    await leases.hold("one", [lease("ann")])
    await leases.look({})
    await leases.hold("one", [lease("ann", seconds=SHORT)])

    def has_left(look: Look) -> bool:
        return any(not change.has_joined for change in look.changes)

    left = await look_on(leases, has_left)
    await leases.settle(left.changes)

    assert await told(leases) == []
    assert not (await leases.look({})).is_used


async def test_the_order_is_that_of_joining(leases: Leases) -> None:
    await leases.hold("one", [lease("carl"), lease("ann")])
    await leases.hold("two", [lease("bob")])
    await leases.hold("one", [lease("carl"), lease("dora")])

    assert await leases.members([ROOM]) == [["carl", "ann", "bob", "dora"]]


async def test_odd_names_are_kept_as_they_are(leases: Leases) -> None:
    names = ['["7","chat:Room:1"]', "a b=c", "ä€😀", "", 'it\'s\n"x"', "%d"]
    await leases.hold("one", [lease(name) for name in names])

    changes = (await leases.look({})).changes

    assert sorted(change.member for change in changes) == sorted(names)
    assert await leases.members([ROOM]) == [names]


async def test_it_says_whether_anybody_is_present(leases: Leases) -> None:
    """A process that serves nobody looks as long as somebody may have to be told of."""
    assert not (await leases.look({})).is_used

    await leave(leases, "one", "ann")
    left = await told_next(leases)

    assert left.is_used
    assert not (await leases.look({})).is_used
    assert await leases.members([ROOM]) == [[]]


async def test_what_was_told_of_somebody_unknown_changes_nothing(
    leases: Leases,
) -> None:
    await leases.settle([Change(ROOM, "nobody", True, 1)])

    assert await leases.look({}) == Look(False, False, False)


# --- Outages


async def until_over(leases: Leases, known: Known) -> Look:
    """Wait until it is not quiet any more; nothing is told before."""
    while (look := await leases.look(known)).is_quiet:
        assert look.changes == ()
        await asyncio.sleep(0.01)
    return look


async def test_nobody_has_left_while_nobody_could_look(leases: Leases) -> None:
    """The leases ended in an outage: their holders renew them before anything else."""
    known: Known = {}
    await leases.hold("one", [lease("ann"), lease("bob")])
    await leases.settle((await leases.look(known)).changes)
    await leases.hold("one", [lease("ann", seconds=SHORT)])
    while await leases.members([ROOM]) != [["bob"]]:  # noqa: ASYNC110
        await asyncio.sleep(0.01)  # nobody looks meanwhile

    leases.times = Times(gap=1_000, quiet=300_000)
    assert (await leases.look(known)).is_quiet
    leases.times = Times()
    assert await leases.hold("one", [lease("ann", is_kept=True)])

    assert (await until_over(leases, known)).changes == ()
    assert sorted((await leases.members([ROOM]))[0]) == ["ann", "bob"]


@pytest.fixture(params=["valkey", "sqlite", pytest.param("postgres", marks=MARK)])
def losing(request: pytest.FixtureRequest) -> tuple[ReplayLog, Callable[[], None]]:
    """A log, and a function by which it loses all data."""
    kind = request.param
    if kind == "valkey":
        server = request.getfixturevalue("valkey")
        return redis_log(server), server.flush
    request.getfixturevalue(f"{kind}_tables")
    return DatabaseReplay(alias=kind), lambda: empty(kind)


async def test_after_a_loss_of_data_only_who_is_new_joins(losing: Any) -> None:
    """Who was present before is noted again, without a word to the application."""
    log, lose = losing
    leases, known = log.leases, {}
    leases.times = Times(quiet=3_600_000_000)
    await leases.look(known)
    await leases.hold("one", [lease("ann"), lease("bob")])
    await leases.settle((await leases.look(known)).changes)

    await asyncio.to_thread(lose)
    look = await leases.look(known)
    kept = [lease("ann", is_kept=True, age=9.0), lease("bob", is_kept=True, seconds=0)]
    assert await leases.hold("one", [lease("carl"), *kept])
    leases.times = Times(gap=0, quiet=0)  # a gap between looks ends it at once
    changes = (await until_over(leases, known)).changes

    assert look.is_lost
    assert look.is_quiet
    assert {change[1:3] for change in changes} == {("bob", False), ("carl", True)}
    assert await leases.members([ROOM]) == [["ann", "carl"]]
    await log.aclose()


async def test_another_process_finds_the_loss_later(losing: Any) -> None:
    """It is quiet from the time at which the first process found it."""
    log, lose = losing
    leases, one, two = log.leases, {}, {}
    await leases.look(one)
    await leases.look(two)

    await asyncio.to_thread(lose)
    first, second = await leases.look(one), await leases.look(two)
    third = await leases.look(one)

    assert [first.is_lost, second.is_lost, third.is_lost] == [True, True, False]
    assert [first.is_quiet, second.is_quiet, third.is_quiet] == [True, True, True]
    await log.aclose()


async def test_nothing_is_held_before_the_loss_is_found(losing: Any) -> None:
    """Or the holder would not know that its other leases are lost."""
    log, lose = losing
    await log.leases.look({})

    await asyncio.to_thread(lose)

    assert not await log.leases.hold("one", [lease("ann")])
    await log.aclose()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=MARK)])
def alias(request: pytest.FixtureRequest) -> str:
    request.getfixturevalue(f"{request.param}_tables")
    return str(request.param)


@pytest.mark.parametrize("prefix", ["two", "Site", "site:two", "sit_"])
async def test_sites_with_one_database_have_leases_of_their_own(
    alias: str, prefix: str
) -> None:
    here = DatabaseReplay(alias=alias, prefix="site")
    there = DatabaseReplay(alias=alias, prefix=prefix)
    for log in (here, there):
        await log.leases.look({})
    await there.leases.hold("one", [lease("ann")])

    assert await here.leases.look({}) == Look(False, False, False)
    assert await here.leases.members([ROOM]) == [[]]
    assert await told(there.leases) == [(ROOM, "ann", True)]
    for log in (here, there):
        await log.aclose()


# --- What one process keeps


async def test_a_look_does_not_look_at_who_stays() -> None:
    """Of a thousand who are present, those are looked at whose time has come."""
    leases = MemoryLeases()
    await leases.hold("one", [lease(f"user{number}") for number in range(1_000)])
    while await told(leases):
        pass
    await leave(leases, "one", "ann")

    calls: Counter[str] = Counter()

    def count(frame: Any, event: str, arg: Any) -> None:
        calls[frame.f_code.co_name] += event == "call"

    sys.setprofile(count)
    try:
        await leases.look({})
    finally:
        sys.setprofile(None)

    assert sum(calls.values()) < 30, calls


# --- One member, by hand


def test_a_member_is_forgotten_when_its_leaving_was_told() -> None:
    member = Member(0)
    member.hold("one", 10, 0)
    assert member.take(1, Times()) is True
    member.settle(True, member.busy, 2)

    assert member.take(10, Times()) is False
    assert not member.is_over(11)
    member.settle(False, member.busy, 12)

    assert member.is_over(12)


def test_a_log_that_keeps_no_leases_says_what_to_do() -> None:
    class Bare(MemoryReplay):
        leases = ReplayLog.leases

    with pytest.raises(ConfigurationError, match="Bare does not keep who is present"):
        _ = Bare().leases
