"""
Code of the application in threads, in turns.

A permission test may be slow, and one user may make the server ask a thousand of them.
They run in a few threads of their own, never two for one owner at a time, and after a
moment whoever else waits has a turn: who asks for much waits longer, and the others do
not wait for them.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from asgiref.sync import AsyncToSync
from channels.db import DatabaseSyncToAsync

from turbo.conf import get_settings

__all__ = ["in_thread", "in_turn", "in_turns", "thread_waits"]

P = ParamSpec("P")
R = TypeVar("R")

#: Seconds after which a thread is given to others who wait.
SLICE = 0.005

_pool: ThreadPoolExecutor | None = None

# The turns of each owner, by event loop.
_turns: WeakKeyDictionary[
    asyncio.AbstractEventLoop, WeakValueDictionary[Hashable, asyncio.Lock]
] = WeakKeyDictionary()


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
    """Call ``steps`` in order; others may come in between."""
    turns = _turns.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    turn = turns.setdefault(owner, asyncio.Lock())
    left = deque(steps)
    while left:
        async with turn:
            await in_thread(_step, left)


async def in_turn(
    owner: Hashable, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
) -> R:
    """Return ``work(…)``, called when it is the owner's turn."""
    results: list[R] = []
    await in_turns(owner, [lambda: results.append(work(*args, **kwargs))])
    return results[0]


def _step(left: deque[Callable[[], None]]) -> None:
    end = time.monotonic() + SLICE
    while left and time.monotonic() < end:
        left.popleft()()


def _threads() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        count = get_settings().permission_threads
        _pool = ThreadPoolExecutor(count, thread_name_prefix="turbo-permissions")
    return _pool


def _after_fork() -> None:
    global _pool
    _pool = None


os.register_at_fork(after_in_child=_after_fork)
