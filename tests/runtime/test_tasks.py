"""Background tasks end with their owner, and their failures are told."""

from __future__ import annotations

import asyncio
import gc
from contextvars import Context, ContextVar

import pytest
from django.db import InterfaceError, OperationalError, ProgrammingError
from redis.exceptions import ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tests.support.servers import PATIENCE
from turbo.runtime.tasks import Tasks, detach


async def test_an_errand_runs_and_is_forgotten() -> None:
    tasks, done = Tasks(), asyncio.Event()

    async def work() -> None:
        done.set()

    tasks.run(work())
    await asyncio.wait_for(done.wait(), PATIENCE)
    await tasks.stop()


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (ValueError("broken"), "ERROR"),
        (ResponseError("a broken script"), "ERROR"),
        (ConnectionRefusedError("away"), "INFO"),
        (RedisTimeoutError("away"), "INFO"),
        (ReadOnlyError("no master"), "INFO"),
        (TimeoutError("away"), "INFO"),
        (OperationalError("the database is away"), "INFO"),
        (InterfaceError("the connection is closed"), "INFO"),
        (ProgrammingError("wrong SQL"), "ERROR"),
    ],
)
async def test_a_failure_is_logged_as_an_error_unless_it_is_an_outage(
    caplog: pytest.LogCaptureFixture, error: Exception, level: str
) -> None:
    """Regression: what nobody had foreseen was a line at INFO."""
    caplog.set_level("INFO", "turbo")
    tasks = Tasks()

    async def work() -> None:
        raise error

    tasks.run(work())
    await tasks.stop(grace=PATIENCE)

    [record] = caplog.records
    assert (record.levelname, record.exc_info[1]) == (level, error)  # type: ignore[index]


async def test_a_job_is_repeated_through_its_failures_until_the_end() -> None:
    tasks, calls = Tasks(), asyncio.Semaphore(0)

    async def job() -> None:
        calls.release()
        raise ValueError("broken")

    tasks.repeat(0.001, job)
    for _ in range(3):
        await asyncio.wait_for(calls.acquire(), PATIENCE)
    await tasks.stop()

    assert calls.locked()


async def test_stop_from_within_an_errand_does_not_wait_for_itself() -> None:
    tasks, done = Tasks(), asyncio.Event()

    async def work() -> None:
        await tasks.stop()
        done.set()

    tasks.run(work())

    await asyncio.wait_for(done.wait(), PATIENCE)


async def test_a_task_that_swallows_its_cancellation_ends_all_the_same() -> None:
    """Or the last page that leaves would wait for ever."""
    tasks, swallowed = Tasks(), asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.set()
        await asyncio.Event().wait()

    tasks.run(work())
    await asyncio.sleep(0)
    await asyncio.wait_for(tasks.stop(), PATIENCE)

    assert swallowed.is_set()


async def test_what_is_detached_ends_though_nobody_holds_it() -> None:
    may_end, ended = asyncio.Event(), asyncio.Event()
    current: ContextVar[str] = ContextVar("current", default="nobody")
    current.set("ann")
    seen = []

    async def work() -> None:
        await may_end.wait()
        seen.append(current.get())
        ended.set()

    detach(work())
    detach(work(), context=Context())
    await asyncio.sleep(0)
    gc.collect()
    may_end.set()
    await asyncio.wait_for(ended.wait(), PATIENCE)
    await asyncio.sleep(0)

    assert sorted(seen) == ["ann", "nobody"]
