"""
Threads that run code of the application for several owners in turns.

A permission test may be slow, and one user may make the server run a thousand of them.
They run in a few threads of their own, and never two at a time for one owner. After a
short time another owner gets its turn. So an owner with many tests waits longer and
does not delay the others.
"""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from asgiref.sync import AsyncToSync, async_to_sync, sync_to_async
from channels.db import DatabaseSyncToAsync
from django.db import connections

from turbo.conf import get_settings
from turbo.runtime.forks import after_in_child
from turbo.runtime.loops import PerLoop
from turbo.runtime.namespaces import current, is_used, of_task, within
from turbo.runtime.tasks import detach

__all__ = [
    "answer_of",
    "current_in_thread",
    "database_sync_to_async",
    "in_database_thread",
    "in_thread",
    "in_turn",
    "in_turns",
    "in_waiting_thread",
    "outside_loop",
    "thread_waits",
    "to_its_end",
    "turn_of",
]

P = ParamSpec("P")
R = TypeVar("R")

#: Seconds after which a thread turns to another owner.
SLICE = 0.005

#: The threads, and how many there may be.
_pool: tuple[ThreadPoolExecutor, int] | None = None
# The turns of each owner, by event loop.
_turns: PerLoop[WeakValueDictionary[Hashable, asyncio.Lock]] = PerLoop(
    WeakValueDictionary
)


async def in_thread(work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """
    Return ``work(…)``, called in one of these threads, where it may use the database.

    In a test that runs in a transaction, ``work`` is called in the test's own thread,
    because other threads do not see its data.
    """
    work = within(of_task(), work)
    call: Callable[P, R] = (
        DatabaseSyncToAsync(work)
        if _is_of_thread()
        else DatabaseSyncToAsync(work, thread_sensitive=False, executor=_threads())
    )
    result: R = await call(*args, **kwargs)  # type: ignore[misc]
    return result


def thread_waits() -> bool:
    """Return whether a thread is blocked until the running coroutine ends."""
    return _is_of_thread() or _is_open(getattr(AsyncToSync.executors, "current", None))


def _is_open(executor: Any) -> bool:
    """Return whether the thread still waits, or one that waits for this thread."""
    while executor is not None and getattr(executor, "_broken", False):
        # The coroutine that the thread waited for has ended; this is a task of it.
        executor = getattr(executor, "_old_executor", None)
    return executor is not None


async def in_waiting_thread(
    work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
) -> R:
    """
    Return ``work(…)``, called in the thread that waits for this coroutine, if one does.

    That thread may have transactions open.
    """
    if not thread_waits():
        return work(*args, **kwargs)
    result: R = await in_database_thread(work, *args, **kwargs)
    return result


async def in_database_thread(
    work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
) -> R:
    """Return ``work(…)``, called in the thread in which Django runs such code."""
    call: Any = sync_to_async(within(of_task(), work), thread_sensitive=True)
    result: R = await call(*args, **kwargs)
    return result


async def current_in_thread() -> str:
    """Return the namespace of the thread that synchronous middleware runs in."""
    return await in_database_thread(current) if is_used() else ""


def database_sync_to_async(work: Callable[P, R]) -> Callable[P, Awaitable[R]]:
    """Do what the function of Channels does, in the namespace of this task."""
    call: Callable[P, Awaitable[R]] = DatabaseSyncToAsync(within(of_task(), work))
    return call


def _is_of_thread() -> bool:
    return asyncio.get_running_loop() in AsyncToSync.loop_thread_executors


def outside_loop(work: Callable[[], R]) -> R:
    """
    Return ``work()``, called in a thread, to a function that blocks the event loop.

    The thread is a new one: those of asgiref and of the permission tests may wait for
    this loop. In a test that runs in a transaction, it is the test's own thread.
    """
    work = within(current(), work)
    of_thread = AsyncToSync.loop_thread_executors.get(asyncio.get_running_loop())
    if of_thread is not None:
        return of_thread.submit(work).result()
    with ThreadPoolExecutor(1, thread_name_prefix="turbo-outside-loop") as executor:
        return executor.submit(copy_context().run, _closing_connections, work).result()


def _closing_connections(work: Callable[[], R]) -> R:
    try:
        return work()
    finally:
        connections.close_all()


async def in_turns(owner: Hashable, steps: Iterable[Callable[[], None]]) -> None:
    """
    Call ``steps`` in order; those of other owners may run in between.

    If the caller is cancelled, it stops waiting, but the owner's turn lasts until the
    thread has finished the current step.
    """
    left = deque(steps)
    try:
        await to_its_end(_in_turns(owner, left))
    except asyncio.CancelledError:
        left.clear()
        raise


async def to_its_end(work: Coroutine[Any, Any, R]) -> R:
    """Return the result of a coroutine that goes on if the caller is cancelled."""
    return await asyncio.shield(detach(work))


async def _in_turns(owner: Hashable, left: deque[Callable[[], None]]) -> None:
    while left:
        async with turn_of(owner):
            await in_thread(_step, left)


def turn_of(owner: Hashable) -> asyncio.Lock:
    """Return the lock that is held while something is done for ``owner``."""
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
        except IndexError:  # all done, or the caller was cancelled
            return
        step()


def answer_of(asked: Any) -> Any:
    """
    Return the result of a function, awaited if it is awaitable; for threads.

    A function may return an awaitable although it is not a coroutine function, because
    it may be decorated.
    """
    return async_to_sync(_awaited)(asked) if inspect.isawaitable(asked) else asked


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer


def _threads() -> ThreadPoolExecutor:
    global _pool
    count = get_settings().permission_threads
    if _pool is None or _pool[1] != count:
        _pool = ThreadPoolExecutor(count, thread_name_prefix="turbo-permissions"), count
    return _pool[0]


@after_in_child
def _after_fork() -> None:
    global _pool
    _pool = None
