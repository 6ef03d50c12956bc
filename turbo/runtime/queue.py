"""
Further ways out of a process, beside the broadcasts.

What goes elsewhere than to the channel layer has a queue of its own and is sent by the
publisher's thread. :func:`turbo.flush` waits for it, and a fork leaves it to the
parent.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Protocol, TypeAlias, TypeVar, cast

from turbo.runtime.tasks import Tasks

__all__ = ["Make", "Outlet", "Outlets"]


class Outlet(Protocol):
    """One further way out."""

    def waiting(self) -> int:
        """Return how many messages have not been sent yet."""

    async def work(self) -> None:
        """Send what is queued, until cancelled; runs on the publisher's loop."""


T = TypeVar("T", bound=Outlet)

#: Makes an outlet for a loop; the function given is to be called when it ran empty.
Make: TypeAlias = Callable[[asyncio.AbstractEventLoop, Callable[[], None]], T]


class Outlets:
    """The outlets of one publisher, made when they are first used."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_empty: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._on_empty = on_empty
        self._tasks = Tasks()  # of the loop
        self._lock = threading.Lock()  # owns the additions to _made
        self._made: dict[Make[Outlet], Outlet] = {}

    def get(self, make: Make[T]) -> T:
        """Return the outlet of a kind."""
        outlet = self._made.get(make)
        if outlet is None:
            with self._lock:
                outlet = self._made.get(make) or self._start(make)
        return cast(T, outlet)

    def waiting(self) -> int:
        """Return how many messages have not been sent yet."""
        return sum(outlet.waiting() for outlet in list(self._made.values()))

    async def stop(self) -> None:
        """End them; what waits is lost."""
        await self._tasks.stop()

    def _start(self, make: Make[T]) -> T:
        outlet = make(self._loop, self._on_empty)
        self._loop.call_soon_threadsafe(lambda: self._tasks.run(outlet.work()))
        self._made[make] = outlet
        return outlet
