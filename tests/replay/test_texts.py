"""What every replay log does with growing texts, whatever it keeps them in."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.replay_backends import MakeLog
from turbo.replay import ReplayLog
from turbo.replay.texts import Put, Stored, StoredText, TextKind, TextPlace, TextState

ANSWER = TextPlace("z7r3l7mdrbvujpqa35bauqyha7", "answer-7")
OTHER = TextPlace("z7r3l7mdrbvujpqa35bauqyha7", "answer-8")
ELSEWHERE = TextPlace("a2k6onl3x4ykqyjvmcyyt7hb4e", "answer-7")


@pytest_asyncio.fixture
async def log(make_log: MakeLog) -> AsyncIterator[ReplayLog]:
    """A log with no texts."""
    log = make_log()
    yield log
    await log.aclose()


async def put(
    log: ReplayLog,
    data: str,
    *,
    start: int = 0,
    at: int | None = None,
    run: int = 0,
    writer: str = "one",
    kind: TextKind = "text",
    state: TextState = "writing",
    place: TextPlace = ANSWER,
) -> Stored:
    """Put one part."""
    at = start + len(data) if at is None else at
    part = Put(place, writer, run, start, data, at, kind, state)
    [stored] = await log.texts.put([part])
    return stored


async def read(log: ReplayLog, place: TextPlace = ANSWER) -> StoredText | None:
    [written] = await log.texts.read([place])
    return written


async def test_nothing_asks_nothing(log: ReplayLog) -> None:
    assert await log.texts.put([]) == []
    assert await log.texts.read([]) == []


async def test_a_text_that_nobody_wrote_is_none(log: ReplayLog) -> None:
    assert await read(log) is None


async def test_a_text_grows_by_its_parts(log: ReplayLog) -> None:
    first = await put(log, "Hello")
    second = await put(log, ", world", start=5, run=first.run)

    assert first.run > 0
    assert (first.at, second) == (5, Stored(first.run, 12))
    assert await read(log) == StoredText(
        first.run, 12, "writing", "text", "Hello, world"
    )


@pytest.mark.parametrize(
    "data", ["", "a\r\nb\n", "ä€😀e\u0301", "\ufffd", "x" * 100_000]
)
async def test_any_text_comes_back_unchanged(log: ReplayLog, data: str) -> None:
    await put(log, data)

    written = await read(log)

    assert written is not None
    assert written.data == data


async def test_texts_of_other_ids_and_streams_are_apart(log: ReplayLog) -> None:
    puts = [
        Put(place, "one", 0, 0, data, 1)
        for place, data in [(ANSWER, "a"), (OTHER, "b"), (ELSEWHERE, "c")]
    ]
    await log.texts.put(puts)

    found = await log.texts.read([OTHER, ELSEWHERE, ANSWER])

    assert [written and written.data for written in found] == ["b", "c", "a"]


async def test_a_part_that_does_not_fit_is_not_stored(log: ReplayLog) -> None:
    """The answer says from where the writer has to put again."""
    run = (await put(log, "abc")).run

    assert await put(log, "ef", start=4, run=run) == Stored(run, 3)
    assert await put(log, "c", start=2, run=run) == Stored(run, 3)
    written = await read(log)
    assert written is not None
    assert written.data == "abc"


async def test_a_part_that_is_put_again_is_stored_once(log: ReplayLog) -> None:
    """An answer may be lost on the way, even the first one."""
    first = await put(log, "abc")

    assert await put(log, "abc") == first
    written = await read(log)
    assert written is not None
    assert written.data == "abc"


@pytest.mark.parametrize("state", ["finished", "failed"])
async def test_an_end_is_the_end(log: ReplayLog, state: TextState) -> None:
    run = (await put(log, "abc")).run
    await put(log, "d", start=3, run=run, state=state)

    assert await put(log, "e", start=4, run=run) == Stored(run, 4)
    assert await read(log) == StoredText(run, 4, state, "text", "abcd")


async def test_final_html_takes_the_place_of_the_text(log: ReplayLog) -> None:
    run = (await put(log, "*abc*")).run

    await put(
        log, "<em>abc</em>", start=5, at=5, run=run, kind="html", state="finished"
    )

    assert await read(log) == StoredText(run, 5, "finished", "html", "<em>abc</em>")


async def test_the_last_state_of_a_progress_is_kept(log: ReplayLog) -> None:
    run = (await put(log, "{1}", start=1, at=1, kind="progress")).run

    await put(log, "{2}", start=7, at=7, run=run, kind="progress")

    assert await read(log) == StoredText(run, 7, "writing", "progress", "{2}")


async def test_a_second_writer_is_refused(log: ReplayLog) -> None:
    run = (await put(log, "abc")).run

    assert await put(log, "", writer="two") == Stored(0, 0)
    assert await read(log) == StoredText(run, 3, "writing", "text", "abc")


@pytest.mark.parametrize("state", ["finished", "failed"])
async def test_a_text_that_ended_is_begun_anew(
    log: ReplayLog, state: TextState
) -> None:
    """Its run is later, so that nothing of before is taken for a part of it."""
    first = await put(log, "abc", state=state)

    second = await put(log, "x", writer="two")

    assert second.run > first.run
    assert await read(log) == StoredText(second.run, 1, "writing", "text", "x")
    assert await put(log, "d", start=3, run=first.run) == Stored(0, 0)


async def test_of_many_that_begin_at_once_one_writes(log: ReplayLog) -> None:
    begun = await asyncio.gather(
        *(put(log, "", writer=f"writer {number}") for number in range(8))
    )

    assert len([stored for stored in begun if stored.run]) == 1


async def test_of_many_processes_that_begin_at_once_one_writes(
    make_log: MakeLog, log: ReplayLog
) -> None:
    if not log.supports_processes:
        pytest.skip("a log of one process")
    logs = [make_log() for _ in range(4)]

    for number in range(20):
        place = TextPlace(ANSWER.stream, f"answer-{number}")
        begun = await asyncio.gather(
            *(put(log, "", writer=f"{n}", place=place) for n, log in enumerate(logs))
        )
        assert len([stored for stored in begun if stored.run]) == 1
    for other in logs:
        await other.aclose()


async def test_a_writer_without_a_lease_has_fallen_silent(
    log: ReplayLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may go on, unless another one has begun meanwhile."""
    monkeypatch.setattr("turbo.replay.texts.LEASE", 0.0)
    monkeypatch.setattr("turbo.replay.redis_texts.LEASE", 0.0)
    monkeypatch.setattr("turbo.database.log.texts.LASTING", 0)
    run = (await put(log, "abc")).run

    assert await read(log) == StoredText(run, 3, "silent", "text", "abc")
    assert await put(log, "d", start=3, run=run) == Stored(run, 4)
    second = await put(log, "x", writer="two")

    assert second.run > run
    assert await put(log, "e", start=4, run=run) == Stored(0, 0)


async def test_a_writer_whose_text_was_lost_puts_all_of_it(log: ReplayLog) -> None:
    """The run stays, so the pages go on where they are."""
    assert await put(log, "def", start=3, run=17) == Stored(17, 0)
    assert await put(log, "abcdef", run=17) == Stored(17, 6)
    assert await read(log) == StoredText(17, 6, "writing", "text", "abcdef")


async def test_a_text_is_forgotten_after_its_age(make_log: MakeLog) -> None:
    log = make_log(text_age=0.001)
    await put(log, "abc")

    while await read(log) is not None:
        pass

    assert (await put(log, "x", writer="two")).run
    await log.aclose()


async def test_many_texts_are_put_at_once(log: ReplayLog) -> None:
    places = [TextPlace(ANSWER.stream, f"answer-{number}") for number in range(25)]
    data = "ä" * 1_000

    stored = await log.texts.put([Put(p, "one", 0, 0, data, 1_000) for p in places])

    assert [found.at for found in stored] == [1_000] * 25
    found = await log.texts.read(places)
    assert [written and written.data for written in found] == [data] * 25


async def test_two_writers_of_one_text_may_come_together(log: ReplayLog) -> None:
    """After an outage one ends a text, and the next one has begun it anew."""
    run = (await put(log, "abc")).run
    end = Put(ANSWER, "one", run, 3, "d", 4, state="finished")

    ended, begun = await log.texts.put([end, Put(ANSWER, "two", 0, 0, "new", 3)])

    assert ended == Stored(run, 4)
    assert begun.run > run
    assert await read(log) == StoredText(begun.run, 3, "writing", "text", "new")
