"""
Queues whose messages the publisher's thread sends, beside the broadcasts.

What goes elsewhere than to the channel layer has a queue of its own.
:func:`turbo.flush` waits until it is empty, and a fork leaves it to the parent.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Protocol, TypeAlias, TypeVar, cast

from turbo.runtime.tasks import Tasks

__all__ = ["Make", "Queue", "Queues"]


class Queue(Protocol):
    """Messages of one kind, and how they are sent."""

    def waiting(self) -> int:
        """Return how many messages have not been sent yet."""

    async def work(self) -> None:
        """Send what is queued, until cancelled; runs on the publisher's loop."""


T = TypeVar("T", bound=Queue)

#: Makes a queue for a loop; the function given is to be called when it ran empty.
Make: TypeAlias = Callable[[asyncio.AbstractEventLoop, Callable[[], None]], T]


class Queues:
    """The queues of one publisher, made when they are first used."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_empty: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._on_empty = on_empty
        self._tasks = Tasks()  # of the loop
        self._lock = threading.Lock()  # owns the additions to _made
        self._made: dict[Make[Queue], Queue] = {}

    def get(self, make: Make[T]) -> T:
        """Return the queue of a kind."""
        queue = self._made.get(make)
        if queue is None:
            with self._lock:
                queue = self._made.get(make) or self._start(make)
        return cast(T, queue)

    def waiting(self) -> int:
        """Return how many messages have not been sent yet."""
        return sum(queue.waiting() for queue in list(self._made.values()))

    async def stop(self) -> None:
        """End them; what waits is lost."""
        await self._tasks.stop()

    def _start(self, make: Make[T]) -> T:
        queue = make(self._loop, self._on_empty)
        self._loop.call_soon_threadsafe(lambda: self._tasks.run(queue.work()))
        self._made[make] = queue
        return queue
