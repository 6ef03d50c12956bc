"""What every replay log does: in memory, in Redis and its like, in databases."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import chain

import pytest
import pytest_asyncio

from tests.support.replay_backends import (
    MakeLog,
    moment_after,
    position,
    read_one,
    send,
    texts,
    until_lost,
)
from turbo.delivery.marked import mark
from turbo.replay import Append, Appended, Entry, History, ReplayLog
from turbo.replay.positions import Moment, bounded, parse

ROOM = "z7r3l7mdrbvujpqa35bauqyha7"
HALL = "a2k6onl3x4ykqyjvmcyyt7hb4e"


@pytest_asyncio.fixture
async def log(make_log: MakeLog) -> AsyncIterator[ReplayLog]:
    """An empty log of three messages a stream whose clock is known."""
    log = make_log(length=3)
    await log.sync_clock()
    yield log
    await log.aclose()


# --- Numbers


async def test_append_numbers_each_stream_from_one(log: ReplayLog) -> None:
    """Numbers are dense within a stream, whatever goes to others."""
    appended = await log.append(
        [Append(ROOM, "a"), Append(HALL, "b"), Append(ROOM, "c")]
    )

    room, hall = appended[0].epoch, appended[1].epoch
    assert appended == [Appended(room, 1), Appended(hall, 1), Appended(room, 2)]
    assert room != hall


async def test_append_nothing_asks_nothing(log: ReplayLog) -> None:
    """An empty batch has an empty answer."""
    assert await log.append([]) == []


@pytest.mark.parametrize(
    "data",
    [
        "",
        "<b>ä€😀</b>",
        "a\x00b\r\n",
        "\ud800",
        "x" * 1_000_000,
        mark("audiences", {"member": "<b>é", "moderator": None}),
    ],
)
async def test_data_comes_back_unchanged(log: ReplayLog, data: str) -> None:
    """Any text survives, also what UTF-8 has no bytes for."""
    since = await position(log, ROOM)

    await send(log, ROOM, data)

    assert texts(await read_one(log, ROOM, since)) == [data]


async def test_gap_marker_is_an_entry_without_data(log: ReplayLog) -> None:
    """A gap marker has its number like any message."""
    since = await position(log, ROOM)

    await send(log, ROOM, "a", None, "")

    history = await read_one(log, ROOM, since)
    assert history.entries == (Entry(1, "a"), Entry(2, None), Entry(3, ""))


async def test_appends_of_many_tasks_are_dense(make_log: MakeLog) -> None:
    """Eight tasks that append at once leave no hole and no double."""
    log = make_log(length=1_000)

    async def write(writer: int) -> list[int]:
        appended = []
        for n in range(20):
            batch = [Append(ROOM, f"{writer}.{n}.{part}") for part in range(3)]
            appended += await log.append(batch)
        return [place.number for place in appended]

    numbers = await asyncio.gather(*map(write, range(8)))

    assert sorted(chain.from_iterable(numbers)) == list(range(1, 481))
    assert all(own == sorted(own) for own in numbers)
    await log.aclose()


def test_appends_of_many_threads_are_dense(make_log: MakeLog) -> None:
    """One log serves the event loops of eight threads."""
    log = make_log(length=1_000)
    numbers: list[int] = []

    async def write(writer: int) -> None:
        for n in range(40):
            [place] = await log.append([Append(ROOM, f"{writer}.{n}")])
            numbers.append(place.number)

    threads = [
        threading.Thread(target=lambda n=n: asyncio.run(write(n))) for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(numbers) == list(range(1, 321))
    history = asyncio.run(read_one(log, ROOM, "?"))
    assert history.tip == 320


# --- Since a position


async def test_read_nothing_asks_nothing(log: ReplayLog) -> None:
    assert await log.read([]) == []


async def test_read_of_an_unknown_stream_gives_it_an_epoch(log: ReplayLog) -> None:
    """A stream has a position before its first message, and keeps it."""
    first = await read_one(log, ROOM, "")

    assert first == History(first.epoch, 0)
    assert await read_one(log, ROOM, "") == first
    assert await log.append([Append(ROOM, "a")]) == [Appended(first.epoch, 1)]


async def test_read_without_since_is_the_tip_only(log: ReplayLog) -> None:
    """Who wants live messages only is told where they begin."""
    await send(log, ROOM, "a", "b")

    history = await read_one(log, ROOM, "")

    assert history == History(history.epoch, 2)


async def test_read_since_a_position_is_what_followed(log: ReplayLog) -> None:
    since = await position(log, ROOM)
    await send(log, ROOM, "a", "b")

    history = await read_one(log, ROOM, since)

    entries = (Entry(1, "a"), Entry(2, "b"))
    assert history == History(history.epoch, 2, entries)
    assert texts(await read_one(log, ROOM, f"{history.epoch}:1")) == ["b"]
    assert texts(await read_one(log, ROOM, f"{history.epoch}:2")) == []


async def test_read_answers_each_request_in_order(log: ReplayLog) -> None:
    room, hall = await position(log, ROOM), await position(log, HALL)
    await send(log, ROOM, "a")
    await send(log, HALL, "b")

    histories = await log.read([(HALL, hall), (ROOM, "?"), (ROOM, room)])

    assert texts(histories[0]) == ["b"]
    assert histories[1] == History(room.split(":")[0], 1, complete=False)
    assert texts(histories[2]) == ["a"]


@pytest.mark.parametrize(
    "since",
    [
        "?",
        "0",
        ":",
        ":0",
        "@",
        "@1",
        "@1.",
        "@-1.ab",
        "@1.ab.cd.ef",
        "@99999999999999999999.ab",
        "x:0",
        "x:-1",
        "x:1e3",
        "x:" + "9" * 5_000,
        "x" * 100_000,
        "\x00",
        "\ud800:1",
        "\u0661:\u0661",
    ],
)
async def test_read_since_nonsense_is_incomplete(log: ReplayLog, since: str) -> None:
    """What a stranger makes up proves nothing and breaks nothing."""
    await send(log, ROOM, "a")

    history = await read_one(log, ROOM, since)

    assert history == History(history.epoch, 1, complete=False)


async def test_read_since_the_future_is_incomplete(log: ReplayLog) -> None:
    """A number that was never given is of a log that is gone."""
    epoch, tip = (await position(log, ROOM)).split(":")
    assert tip == "0"

    assert not (await read_one(log, ROOM, f"{epoch}:1")).complete
    assert not (await read_one(log, ROOM, f"{epoch}:{10**15 - 1}")).complete


async def test_read_since_another_epoch_is_incomplete(log: ReplayLog) -> None:
    await send(log, ROOM, "a")

    assert not (await read_one(log, ROOM, await position(log, HALL))).complete


async def test_length_limits_what_can_be_replayed(log: ReplayLog) -> None:
    """All or nothing: a trimmed history is never passed off as whole."""
    await send(log, ROOM, *"abcde")
    epoch = (await read_one(log, ROOM, "")).epoch

    assert texts(await read_one(log, ROOM, f"{epoch}:2")) == ["c", "d", "e"]
    for number in (0, 1):
        history = await read_one(log, ROOM, f"{epoch}:{number}")
        assert history == History(epoch, 5, complete=False)


async def test_length_may_be_lowered(make_log: MakeLog, log: ReplayLog) -> None:
    """A process with a smaller setting trims what others have left."""
    if not log.supports_processes:
        pytest.skip("one log has one length")
    since = await position(log, ROOM)
    before = log.moment()
    await send(log, ROOM, "a", "b", "c")
    short = make_log(length=1)

    await send(short, ROOM, "d")

    assert not (await read_one(log, ROOM, since)).complete
    assert not (await read_one(log, ROOM, before)).complete
    assert texts(await read_one(log, ROOM, since.replace(":0", ":3"))) == ["d"]
    await short.aclose()


# --- Since a moment


async def test_moment_precedes_what_is_sent_after_it(log: ReplayLog) -> None:
    """A page that was born at a moment misses nothing from there on."""
    await send(log, ROOM, "before")
    moment = await moment_after(log, ROOM)

    await send(log, ROOM, "a", None)
    await send(log, HALL, "b")

    histories = await log.read([(ROOM, moment), (HALL, moment)])
    assert [texts(history) for history in histories] == [["a", None], ["b"]]


async def test_moment_may_repeat_but_never_miss(make_log: MakeLog) -> None:
    """However close to a message a moment is taken, what follows is replayed."""
    log = make_log()
    await log.sync_clock()

    for n in range(50):
        moment = log.moment()
        await send(log, ROOM, str(n))
        assert texts(await read_one(log, ROOM, moment))[-1] == str(n)
    await log.aclose()


async def test_moment_before_what_was_trimmed_is_incomplete(log: ReplayLog) -> None:
    await send(log, ROOM, "a")
    moment = await moment_after(log, ROOM)
    await send(log, ROOM, "b", "c", "d")

    assert texts(await read_one(log, ROOM, moment)) == ["b", "c", "d"]
    await send(log, ROOM, "e")

    assert not (await read_one(log, ROOM, moment)).complete


async def test_moment_holds_for_streams_that_nobody_has_used(log: ReplayLog) -> None:
    """A page may be the first ever to ask for a stream."""
    moment = log.moment()

    history = await read_one(log, ROOM, moment)

    assert history == History(history.epoch, 0)


async def test_moment_of_another_log_is_incomplete(
    make_log: MakeLog, log: ReplayLog
) -> None:
    """A moment names the data that it is a moment of."""
    time, _, identities = log.moment().partition(".")
    forged = f"{time}.{identities[::-1]}x"

    assert not (await read_one(log, ROOM, forged)).complete


# --- The moment from which on a stream may be seen


async def test_a_floor_hides_what_came_before_it(log: ReplayLog) -> None:
    """Whatever position a stranger makes up, history begins at the floor."""
    start = await position(log, ROOM)
    await send(log, ROOM, "before")
    floor = await moment_after(log, ROOM)
    await send(log, ROOM, "a", "b")

    history = await read_one(log, ROOM, bounded(start, floor))

    assert texts(history) == ["a", "b"]
    assert [entry.number for entry in history.entries] == [2, 3]


async def test_a_floor_leaves_alone_what_came_after_it(log: ReplayLog) -> None:
    floor = await moment_after(log, ROOM)
    await send(log, ROOM, "a")
    since = await position(log, ROOM)
    await send(log, ROOM, "b")

    assert texts(await read_one(log, ROOM, bounded(since, floor))) == ["b"]
    assert texts(await read_one(log, ROOM, bounded(floor, floor))) == ["a", "b"]


async def test_what_was_trimmed_below_the_floor_is_not_missed(log: ReplayLog) -> None:
    start = await position(log, ROOM)
    await send(log, ROOM, "x", "y")
    floor = await moment_after(log, ROOM)
    await send(log, ROOM, "a", "b")  # the log keeps three

    assert texts(await read_one(log, ROOM, bounded(start, floor))) == ["a", "b"]


async def test_what_was_trimmed_above_the_floor_is_missed(log: ReplayLog) -> None:
    start = await position(log, ROOM)
    floor = await moment_after(log, ROOM)
    await send(log, ROOM, "a", "b", "c", "d")

    assert not (await read_one(log, ROOM, bounded(start, floor))).complete


async def test_a_floor_of_another_log_proves_nothing(log: ReplayLog) -> None:
    start = await position(log, ROOM)
    await send(log, ROOM, "a")

    assert not (await read_one(log, ROOM, f"{start}@17.1f0c")).complete


async def test_a_floor_of_another_epoch_proves_nothing(log: ReplayLog) -> None:
    floor = await moment_after(log, ROOM)
    await send(log, ROOM, "a")

    assert not (await read_one(log, ROOM, bounded("x:0", floor))).complete


async def test_moment_in_the_future_is_incomplete(log: ReplayLog) -> None:
    """The log's clock has been set back, or somebody plays."""
    _, _, identity = log.moment().partition(".")

    assert not (await read_one(log, ROOM, f"@{10**16 - 1}.{identity}")).complete


# --- Age


@pytest.mark.slow
async def test_age_limits_what_can_be_replayed(make_log: MakeLog) -> None:
    """A stream that falls silent forgets its messages, not its position."""
    log = make_log(age=1.0)
    await log.sync_clock()
    before = await moment_after(log, ROOM)
    since = await position(log, ROOM)
    await send(log, ROOM, "a")

    history = await until_lost(log, ROOM, since)

    epoch = history.epoch
    assert history == History(epoch, 1, complete=False)
    assert not (await read_one(log, ROOM, before)).complete
    assert texts(await read_one(log, ROOM, f"{epoch}:1")) == []
    await log.aclose()


@pytest.mark.slow
async def test_age_keeps_the_numbers(make_log: MakeLog) -> None:
    """What is sent after the silence follows what was sent before it."""
    log = make_log(age=1.0)
    await log.sync_clock()
    since, early = await position(log, ROOM), log.moment()
    await send(log, ROOM, "a")
    history = await until_lost(log, ROOM, since)
    late = await moment_after(log, ROOM)

    await send(log, ROOM, "b")

    assert texts(await read_one(log, ROOM, f"{history.epoch}:1")) == ["b"]
    assert texts(await read_one(log, ROOM, late)) == ["b"]
    assert not (await read_one(log, ROOM, since)).complete
    assert not (await read_one(log, ROOM, early)).complete
    await log.aclose()


@pytest.mark.slow
async def test_age_trims_a_stream_in_use(make_log: MakeLog) -> None:
    """Old messages go although new ones keep coming."""
    log = make_log(length=10_000, age=1.0)
    await log.sync_clock()
    since, before = await position(log, ROOM), log.moment()

    while (history := await read_one(log, ROOM, since)).complete:
        await send(log, ROOM, "a")
        await asyncio.sleep(0.005)

    await send(log, ROOM, "b")
    last = await read_one(log, ROOM, f"{history.epoch}:{history.tip}")
    assert texts(last) == ["b"]
    assert not (await read_one(log, ROOM, before)).complete
    await log.aclose()


# --- Tips


async def test_tips_are_the_last_positions(log: ReplayLog) -> None:
    """A stream without a position is not given one."""
    await send(log, ROOM, "a", "b")
    epoch = (await read_one(log, ROOM, "")).epoch

    assert await log.tips([HALL, ROOM]) == [None, (epoch, 2)]
    assert await log.tips([HALL]) == [None]
    assert await log.tips([]) == []


# --- Two writers


@pytest.mark.parametrize(
    ("earlier", "own", "overtaken"),
    [
        (("k", "other"), ("k", "me"), True),
        (("k", "me"), ("k", "me"), False),
        (("j", "other"), ("k", "me"), False),
        (("", "other"), ("", "me"), False),
        (("", ""), ("k", "me"), False),
    ],
    ids=["overtaken", "own", "other-object", "no-key", "anonymous"],
)
async def test_overtaken_when_another_writer_was_faster(
    log: ReplayLog, earlier: tuple[str, str], own: tuple[str, str], overtaken: bool
) -> None:
    """Of two states of one object the one that was read earlier may come in later."""
    moment = await moment_after(log, ROOM)
    await log.append([Append(ROOM, "newer", *earlier)])

    [place] = await log.append([Append(ROOM, "older", *own, moment)])

    assert (place.number, place.overtaken) == (2, overtaken)


async def test_overtaken_not_by_what_was_known(log: ReplayLog) -> None:
    """What another wrote before we read is part of what we read."""
    await log.append([Append(ROOM, "older", "k", "other")])
    moment = await moment_after(log, ROOM)

    [place] = await log.append([Append(ROOM, "newer", "k", "me", moment)])

    assert not place.overtaken


async def test_overtaken_not_without_a_moment(log: ReplayLog) -> None:
    """Who does not say when the state was read does not ask."""
    await log.append([Append(ROOM, "newer", "k", "other")])

    [place] = await log.append([Append(ROOM, "older", "k", "me")])

    assert not place.overtaken


async def test_overtaken_when_the_moment_is_of_data_that_are_lost(
    log: ReplayLog,
) -> None:
    """Regression: a message that is lost with them may have been another writer's."""
    [place] = await log.append([Append(ROOM, "a", "k", "me", "@1.ab")])

    assert place.overtaken


@pytest.mark.parametrize("moment", ["?", "nonsense", "x:1"])
async def test_overtaken_when_the_moment_is_not_known(
    log: ReplayLog, moment: str
) -> None:
    """An unknown moment is before everything that the log holds."""
    [first] = await log.append([Append(ROOM, "a", "k", "other", moment)])
    [second] = await log.append([Append(ROOM, "b", "k", "me", moment)])

    assert (first.overtaken, second.overtaken) == (False, True)


async def test_overtaken_when_trimming_hides_the_answer(log: ReplayLog) -> None:
    """What was trimmed since the moment may have been another writer's."""
    await send(log, ROOM, "a")
    moment = await moment_after(log, ROOM)
    await send(log, ROOM, "b", "c", "d")
    [known] = await log.append([Append(ROOM, "e", "k", "me", moment)])

    [hidden] = await log.append([Append(ROOM, "f", "k", "me", moment)])

    assert (known.overtaken, hidden.overtaken) == (False, True)


async def test_overtaken_within_one_batch(log: ReplayLog) -> None:
    """Messages of one batch stand to each other like those of two."""
    moment = log.moment()

    appended = await log.append(
        [Append(ROOM, "a", "k", "one", moment), Append(ROOM, "b", "k", "two", moment)]
    )

    assert [place.overtaken for place in appended] == [False, True]


async def test_the_gap_that_a_killed_writer_owes_is_left_by_who_looks(
    log: ReplayLog,
) -> None:
    """Regression: the gap was only in the memory of the overtaken writer."""
    moment = await moment_after(log, ROOM)
    await log.append([Append(ROOM, "newer", "k", "other")])
    [place] = await log.append([Append(ROOM, "older", "k", "me", moment)])
    await log.append([Append(ROOM, "after", "j", "other")])

    tips = [await log.tips([HALL, ROOM]) for _ in range(2)]

    assert tips == 2 * [[None, (place.epoch, 4)]]
    history = await read_one(log, ROOM, f"{place.epoch}:2")
    assert texts(history) == ["after", None]


async def test_a_writer_that_lives_leaves_the_gap_itself(log: ReplayLog) -> None:
    moment = await moment_after(log, ROOM)
    await log.append([Append(ROOM, "newer", "k", "other")])
    await log.append([Append(ROOM, "older", "k", "me", moment)])

    [place] = await log.append([Append(ROOM, None)])

    assert await log.tips([ROOM]) == [(place.epoch, 3)]


# --- Claims and revocations


async def test_claim_admits_one_at_a_time(log: ReplayLog) -> None:
    """Who comes second is told how long to wait; then it is free."""
    assert await log.claim("refresh", seconds=600) == 0.0
    assert await log.claim("another", seconds=600) == 0.0

    assert 0.0 < await log.claim("refresh", seconds=600) <= 600

    some = await log.claim_each(["refresh", "third", "third"], seconds=600)
    assert [bool(pause) for pause in some] == [True, False, True]

    assert await log.claim("brief", seconds=0.01) == 0.0
    while await log.claim("brief", seconds=0.01):  # noqa: ASYNC110 - a log tells nobody
        await asyncio.sleep(0.01)


async def test_forbidden_tells_when(log: ReplayLog) -> None:
    """The latest revocation of each key counts, by the clock of the moments."""
    before = _time_of(log.moment())
    await log.forbid(["ann", "bob"], seconds=60)
    between = _time_of(await moment_after_revocation(log, "ann"))
    await log.forbid(["bob"], seconds=60)

    ann, bob, eve = await log.forbidden(["ann", "bob", "eve"])

    assert ann is not None
    assert bob is not None
    assert before <= ann < between <= bob
    assert eve is None
    assert await log.forbidden([]) == []


async def moment_after_revocation(log: ReplayLog, key: str) -> str:
    """Return a moment that follows the revocation: moments lie a little in the past."""
    [noted] = await log.forbidden([key])
    assert noted is not None
    while True:
        if _time_of(moment := log.moment()) > noted:
            return moment
        await asyncio.sleep(0.005)


def _time_of(moment: str) -> int:
    parsed = parse(moment)
    assert isinstance(parsed, Moment)
    return parsed.time


async def test_a_moment_of_another_clock_is_not_current(log: ReplayLog) -> None:
    moment = parse(log.moment())
    assert isinstance(moment, Moment)

    assert log.is_current(moment)
    assert not log.is_current(replace(moment, hosts=("1f0c",)))


@pytest.mark.slow
async def test_forbidden_ends(log: ReplayLog) -> None:
    await log.forbid(["ann"], seconds=1)
    await log.forbid(["bob"], seconds=600)

    while await log.forbidden(["ann"]) != [None]:  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.02)
    assert await log.forbidden(["bob"]) != [None]


def test_check_finds_nothing_wrong(make_log: MakeLog) -> None:
    assert make_log().check() == []
