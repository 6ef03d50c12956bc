"""A progress says how far a job is, whatever the job counts."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.servers import PATIENCE
from tests.testapp.streams import Announcements
from turbo.delivery.broadcast import flush, shut_down
from turbo.exceptions import TextError
from turbo.replay import get_replay
from turbo.replay.texts import StoredText, TextPlace
from turbo.streams.progress import StreamProgress
from turbo.testing import capture_broadcasts


@pytest.fixture(autouse=True)
def _no_publisher() -> Iterator[None]:
    yield
    shut_down(PATIENCE)


def job(total: Any = None) -> StreamProgress:
    return Announcements().progress(id="job", total=total)


def stored() -> StoredText:
    """Return what the log has when all has been sent."""
    assert flush(PATIENCE)
    place = TextPlace(Announcements().stream_id, "job")
    [written] = asyncio.run(get_replay().texts.read([place]))
    assert written is not None
    return written


def shown() -> dict[str, Any]:
    values: dict[str, Any] = json.loads(stored().data)
    return values


def test_a_progress_is_known_from_its_beginning() -> None:
    with job(total=9):
        assert shown() == {"value": 0, "total": 9, "note": None}


def test_the_last_state_is_stored() -> None:
    with job(total=9) as progress:
        progress.advance(note="Rake")
        progress.advance(3)

        assert (progress.value, progress.total, progress.note) == (4, 9, "Rake")

        assert shown() == {"value": 4, "total": 9, "note": "Rake"}
        assert stored().state == "writing"


def test_a_progress_that_has_finished_is_all_done() -> None:
    """A job may count less than it was told, such as rows that were skipped."""
    with job(total=9) as progress:
        progress.advance(4)

    assert (stored().state, shown()["value"]) == ("finished", 9)


def test_a_progress_that_has_failed_stays_where_it_is() -> None:
    def work() -> None:
        with job(total=9) as progress:
            progress.advance(4, note="Rake")
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        work()

    assert stored().state == "failed"
    assert shown() == {"value": 4, "total": 9, "note": "Rake"}


def test_ends_may_say_why() -> None:
    with job() as progress:
        progress.fail(note="no such file")
        with pytest.raises(TextError, match="has ended"):
            progress.finish(note="done")

    assert shown()["note"] == "no such file"


def test_without_a_total_it_is_not_known_how_far_it_is() -> None:
    with job() as progress:
        progress.advance(1_000)
        assert shown() == {"value": 1_000, "total": None, "note": None}

    assert shown()["value"] == shown()["total"]


def test_a_total_may_become_known() -> None:
    with job() as progress:
        progress.set(3, total=12)

        assert shown() == {"value": 3, "total": 12, "note": None}


def test_nothing_to_do_is_done() -> None:
    with job(total=0) as progress:
        progress.advance()
        assert shown()["value"] == 0

    assert (shown()["value"], shown()["total"]) == (1, 1)


@pytest.mark.parametrize(("steps", "value"), [([5, 7], 9), ([-3], 0), ([5, -2], 3)])
def test_the_value_stays_between_nothing_and_the_total(
    steps: list[int], value: int
) -> None:
    with job(total=9) as progress:
        for step in steps:
            progress.advance(step)

        assert progress.value == value
        assert shown()["value"] == value


@pytest.mark.parametrize("n", ["1", None, True, [1]])
def test_a_step_that_is_no_number_is_an_error(n: Any) -> None:
    with job(total=9) as progress, pytest.raises(TypeError, match="n is a number"):
        progress.advance(n)


@pytest.mark.parametrize(
    "n",
    [math.nan, math.inf, 1e308, 10**5_000],
    ids=["nan", "infinite", "large", "larger"],
)
def test_a_step_that_is_not_finite_is_an_error(n: float) -> None:
    with job(total=9) as progress, pytest.raises(ValueError, match="finite"):
        progress.advance(n)


def test_a_total_is_not_negative() -> None:
    with pytest.raises(ValueError, match="not negative"):
        job(total=-1)


def test_a_note_is_a_string_and_short() -> None:
    with job() as progress:
        with pytest.raises(TypeError, match="note is a string"):
            progress.set(note=7)  # type: ignore[arg-type]
        progress.set(note="x" * 5_000)

        assert progress.note == "x" * 999 + "…"


def count_rows(number: int) -> None:
    with job(total=number) as progress:
        for _ in range(number):
            progress.advance()


def test_a_progress_is_counted_in_a_task_of_django(settings: Any) -> None:
    tasks = pytest.importorskip("django.tasks", reason="Django 5.2 has no tasks")
    backend = {"BACKEND": "django.tasks.backends.immediate.ImmediateBackend"}
    settings.TASKS = {"default": backend}

    tasks.task(count_rows).enqueue(9)

    assert (stored().state, shown()["value"]) == ("finished", 9)


async def test_a_progress_is_counted_in_async_code() -> None:
    async with Announcements().progress(id="job", total=9) as progress:
        await progress.aadvance(2, note="Rake")
        await progress.aset(4)
        await progress.afinish(note="done")

    assert await asyncio.to_thread(shown) == {"value": 9, "total": 9, "note": "done"}


async def test_a_progress_fails_in_async_code() -> None:
    async with Announcements().progress(id="job", total=9) as progress:
        await progress.afail(note="no")

    assert (await asyncio.to_thread(stored)).state == "failed"


def test_a_capture_has_the_end() -> None:
    with capture_broadcasts() as sent, job(total=9) as progress:
        progress.advance(note='"a" < b')

    [element] = sent
    assert (element.action, element.target) == ("progress", "job")
    said = {name: element.attributes[name] for name in ("value", "total", "note")}
    assert said == {"value": "9", "total": "9", "note": '"a" < b'}
    assert element.attributes["state"] == "finished"
