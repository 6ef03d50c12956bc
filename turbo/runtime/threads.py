"""
Code of the application in threads, in turns.

A permission test may be slow, and one user may make the server ask a thousand of them.
They run in a few threads of their own, never two for one owner at a time, and after a
moment whoever else waits has a turn: who asks for much waits longer, and the others do
not wait for them.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from asgiref.sync import AsyncToSync, async_to_sync
from channels.db import DatabaseSyncToAsync

from turbo.conf import get_settings
from turbo.runtime.forks import after_in_child
from turbo.runtime.loops import PerLoop
from turbo.runtime.tasks import detach

__all__ = [
    "answer_of",
    "in_thread",
    "in_turn",
    "in_turns",
    "thread_waits",
    "to_its_end",
    "turn_of",
]

P = ParamSpec("P")
R = TypeVar("R")

#: Seconds after which a thread is given to others who wait.
SLICE = 0.005

_pool: ThreadPoolExecutor | None = None
# The turns of each owner, by event loop.
_turns: PerLoop[WeakValueDictionary[Hashable, asyncio.Lock]] = PerLoop(
    WeakValueDictionary
)


async def in_thread(work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """
    Return ``work(…)``, called in one of our threads, where it may use the database.

    A test of the application that runs in a transaction keeps the thread that sees it.
    """
    call: Callable[P, R] = (
        DatabaseSyncToAsync(work)
        if _is_of_thread()
        else DatabaseSyncToAsync(work, thread_sensitive=False, executor=_threads())
    )
    result: R = await call(*args, **kwargs)  # type: ignore[misc]
    return result


def thread_waits() -> bool:
    """Return whether a thread waits for the running coroutine, perhaps mid-work."""
    return _is_of_thread() or bool(getattr(AsyncToSync.executors, "current", None))


def _is_of_thread() -> bool:
    return asyncio.get_running_loop() in AsyncToSync.loop_thread_executors


async def in_turns(owner: Hashable, steps: Iterable[Callable[[], None]]) -> None:
    """
    Call ``steps`` in order; others may come in between.

    Who is cancelled waits no more, but it is the owner's turn until the thread is done.
    """
    left = deque(steps)
    try:
        await to_its_end(_in_turns(owner, left))
    except asyncio.CancelledError:
        left.clear()
        raise


async def to_its_end(work: Coroutine[Any, Any, R]) -> R:
    """Return what a coroutine returns, which goes on when who waits is cancelled."""
    return await asyncio.shield(detach(work))


async def _in_turns(owner: Hashable, left: deque[Callable[[], None]]) -> None:
    while left:
        async with turn_of(owner):
            await in_thread(_step, left)


def turn_of(owner: Hashable) -> asyncio.Lock:
    """Return what is held by whatever is done for an owner at this moment."""
    return _turns.get().setdefault(owner, asyncio.Lock())


async def in_turn(
    owner: Hashable, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
) -> R:
    """Return ``work(…)``, called when it is the owner's turn."""
    results: list[R] = []
    await in_turns(owner, [lambda: results.append(work(*args, **kwargs))])
    return results[0]


def _step(left: deque[Callable[[], None]]) -> None:
    end = time.monotonic() + SLICE
    while time.monotonic() < end:
        try:
            step = left.popleft()
        except IndexError:  # all done, or who asked has left
            return
        step()


def answer_of(asked: Any) -> Any:
    """
    Return what a plain function has answered; for threads.

    A decorator may have made a plain function of a coroutine function.
    """
    return async_to_sync(_awaited)(asked) if inspect.isawaitable(asked) else asked


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer


def _threads() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        count = get_settings().permission_threads
        _pool = ThreadPoolExecutor(count, thread_name_prefix="turbo-permissions")
    return _pool


@after_in_child
def _after_fork() -> None:
    global _pool
    _pool = None
