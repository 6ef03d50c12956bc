"""Background tasks end with their owner, and their failures are told."""

from __future__ import annotations

import asyncio

import pytest

from tests.servers import PATIENCE
from turbo.runtime.tasks import Errands


async def test_an_errand_runs_and_is_forgotten() -> None:
    errands, done = Errands(), asyncio.Event()

    async def errand() -> None:
        done.set()

    errands.run(errand())
    await asyncio.wait_for(done.wait(), PATIENCE)
    await errands.stop()


async def test_a_failure_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "turbo.hub")
    errands = Errands()

    async def errand() -> None:
        raise ValueError("broken")

    errands.run(errand())
    await errands.stop(grace=1)

    assert caplog.records[0].exc_info is not None


async def test_a_job_is_repeated_through_its_failures_until_the_end() -> None:
    errands, calls = Errands(), asyncio.Semaphore(0)

    async def job() -> None:
        calls.release()
        raise ValueError("broken")

    errands.repeat(0.001, job)
    for _ in range(3):
        await asyncio.wait_for(calls.acquire(), PATIENCE)
    await errands.stop()

    assert calls.locked()


async def test_stop_from_within_an_errand_does_not_wait_for_itself() -> None:
    errands, done = Errands(), asyncio.Event()

    async def errand() -> None:
        await errands.stop()
        done.set()

    errands.run(errand())

    await asyncio.wait_for(done.wait(), PATIENCE)
