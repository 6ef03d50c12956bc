"""The publisher finds the loop that serves."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator

import pytest

from tests.support.servers import PATIENCE
from turbo.runtime import loops
from turbo.runtime.loops import PerLoop


@pytest.fixture(autouse=True)
def nobody_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "_loop", None)
    monkeypatch.setattr(loops, "_expected", False)


def test_no_loop_serves_at_first() -> None:
    assert loops.loop() is None
    assert not loops.expected()


def test_an_application_that_was_made_lets_a_server_be_expected() -> None:
    loops.expect()

    assert loops.expected()
    assert loops.loop() is None


def test_the_last_loop_registered_serves_until_it_is_closed() -> None:
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    loops.register(first)
    loops.register(second)

    assert loops.loop() is second
    assert loops.expected()
    second.close()
    assert loops.loop() is None
    first.close()


@pytest.fixture
def server() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that serves in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    loops.register(loop)
    yield loop
    if not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


async def test_a_call_runs_on_the_loop_that_serves(
    server: asyncio.AbstractEventLoop,
) -> None:
    seen = []

    async def call() -> None:
        seen.append(asyncio.get_running_loop())

    assert await loops.run(call)
    assert seen == [server]


async def test_an_error_of_a_call_reaches_who_asked(
    server: asyncio.AbstractEventLoop,
) -> None:
    async def call() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await loops.run(call)


async def test_a_call_that_is_cancelled_cancels_nobody_else(
    server: asyncio.AbstractEventLoop,
) -> None:
    """As a server does with all its tasks when it ends."""

    async def call() -> None:
        raise asyncio.CancelledError

    assert await loops.run(call)


async def test_nobody_waits_for_a_loop_that_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loops, "PATIENCE", 0.01)
    stopped = asyncio.new_event_loop()  # takes the call, and never gets to it
    loops.register(stopped)
    called = []

    async def call() -> None:
        called.append(1)

    asking = asyncio.ensure_future(loops.run(call))
    await asyncio.sleep(0.05)
    assert not asking.done()
    stopped.close()

    assert await asyncio.wait_for(asking, PATIENCE)
    assert not called


async def test_without_a_server_nothing_is_called() -> None:
    async def call() -> None:
        raise AssertionError

    assert not await loops.run(call)


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_call_that_never_began_is_let_go(leaves: bool) -> None:
    """And not left to the collector, which would complain of it."""
    called = []

    async def call() -> None:
        called.append(True)

    loop = asyncio.new_event_loop()
    loops.register(loop)
    asking = asyncio.ensure_future(loops.run(call))
    await asyncio.sleep(0)
    loop.call_soon_threadsafe(loop.stop)
    await asyncio.to_thread(loop.run_forever)
    loop.close()

    if leaves:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        gc.collect()
    else:
        assert await asking
    assert not called


# --- One for each loop


def test_each_loop_has_its_own() -> None:
    made: PerLoop[list[str]] = PerLoop(list)

    async def use() -> list[str]:
        assert made.get() is made.get()
        return made.get()

    with asyncio.Runner() as first, asyncio.Runner() as second:
        kept = first.run(use())
        kept.append("of the first")
        assert first.run(use()) is kept
        assert second.run(use()) == []
        assert len(made.values()) == 2


async def test_what_is_forgotten_is_made_anew() -> None:
    made: PerLoop[list[str]] = PerLoop(list)
    first = made.get()
    first.append("a")

    made.forget()
    made.forget()

    assert made.get() == []


def test_it_goes_with_its_loop() -> None:
    made: PerLoop[list[str]] = PerLoop(list)

    async def use() -> None:
        made.get()

    asyncio.run(use())
    gc.collect()

    assert made.values() == []
