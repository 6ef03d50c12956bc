"""Run a consumer's actions and event handlers one at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from turbo.runtime.failures import log_failure

__all__ = ["Turns"]

#: Events that may wait for the handlers of one consumer.
LIMIT = 1_000


class Turns:
    """
    The turns of one consumer.

    Actions and event handlers never run at the same time, so a consumer's attributes
    need no lock. None of the queues of ``turbo.runtime`` fits here: queued jobs share a
    lock with :meth:`run`, and they run in the consumer's context.
    """

    def __init__(self, *, on_full: Callable[[], None]) -> None:
        self._on_full = on_full
        self._lock = asyncio.Lock()
        self._waiting: deque[Callable[[], Awaitable[Any]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def put(self, job: Callable[[], Awaitable[Any]]) -> None:
        """Queue ``job``; its exceptions are logged."""
        if self._closed:
            return
        if len(self._waiting) >= LIMIT:
            self._closed = True
            self._waiting.clear()
            self._on_full()
            return
        self._waiting.append(job)
        if self._task is None:
            self._task = asyncio.ensure_future(self._work())

    async def run(self, job: Callable[[], Awaitable[Any]]) -> None:
        """Run ``job`` now, or after the job that is running."""
        async with self._lock:
            await job()

    async def close(self) -> None:
        """Stop, and run no further jobs."""
        self._closed = True
        self._waiting.clear()
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._guarded(self._waiting.popleft())
        finally:
            self._task = None

    async def _guarded(self, job: Callable[[], Awaitable[Any]]) -> None:
        try:
            await self.run(job)
        except Exception as error:
            log_failure("A handler of events failed.", error)
