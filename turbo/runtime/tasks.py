"""Background tasks that an owner keeps, logs and cancels."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

from turbo.runtime.failures import is_outage, log_failure

__all__ = ["Tasks", "detach"]

logger = logging.getLogger("turbo.hub")

R = TypeVar("R")

#: Seconds that a cancelled task has to end before it is cancelled again.
PATIENCE = 1.0

#: References to detached tasks, because there may be no other ones.
_detached: set[asyncio.Task[Any]] = set()


def detach(
    work: Coroutine[Any, Any, R], *, context: Context | None = None
) -> asyncio.Task[R]:
    """Start a task that goes on when its caller is cancelled."""
    task = asyncio.get_running_loop().create_task(work, context=context)
    _detached.add(task)
    task.add_done_callback(_detached.discard)
    return task


class Tasks:
    """The background tasks of one owner."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        # Every page is an owner, and most of them never have a task.
        self._tasks: set[asyncio.Task[None]] | None = None

    def run(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start ``coroutine``; its exceptions are logged and not raised."""
        task = asyncio.ensure_future(_reported(coroutine))
        if self._tasks is None:
            self._tasks = set()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # One that is cancelled before its first step would warn otherwise.
        task.add_done_callback(lambda _: coroutine.close())
        return task

    def repeat(self, seconds: float, job: Callable[[], Awaitable[None]]) -> None:
        """Run ``job`` every ``seconds`` until :meth:`stop`."""
        self.run(_every(seconds, job))

    async def stop(self, *, grace: float = 0.0) -> None:
        """
        Cancel the tasks that have not ended within ``grace`` seconds.

        A task that swallows this is cancelled again. On Python 3.11, ``wait_for``
        swallows a cancellation if what it waits for is done, and Redis' client uses it
        for everything that it sends.
        """
        if not self._tasks:
            return
        current = asyncio.current_task()
        tasks = {task for task in self._tasks if task is not current}
        if tasks and grace:
            await asyncio.wait(tasks, timeout=grace)
        while tasks:
            for task in tasks:
                task.cancel()
            _, tasks = await asyncio.wait(tasks, timeout=PATIENCE)


async def _every(seconds: float, job: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(seconds)
        await _reported(job())


async def _reported(work: Awaitable[None]) -> None:
    try:
        await work
    except Exception as error:
        if is_outage(error):
            # The code that uses Redis constantly logs this as an error.
            logger.info("Background work failed.", exc_info=error)
        else:
            log_failure("Background work failed.", error)
