"""
The desk of a stream: what arrives for its subscriptions is dealt with once, in order.

The hub hands a message to each subscription without waiting. To tell the clients takes
a query and a serializer, so each stream has a desk, which takes up the message with all
who are to be told, does the work once, and tells them. It belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from turbo.failures import log_failure
from turbo.frame import Frame

__all__ = ["Desk", "Entry", "Listener", "desk_for"]


class Listener(Protocol):
    """Who is told."""

    def fail(self) -> None:
        """Say that something cannot be told."""


#: A message, and those who are to be told of it.
Entry: TypeAlias = tuple[Frame, list[Any]]


class Desk(ABC):
    """The work of one stream in this process."""

    def __init__(self) -> None:
        self._seats: set[Listener] = set()
        self._pile: list[Entry] = []
        self._task: asyncio.Task[None] | None = None

    def join(self, seat: Listener) -> None:
        """Count ``seat`` in."""
        self._seats.add(seat)

    def leave(self, seat: Listener) -> None:
        """Count ``seat`` out; the last one ends the work."""
        self._seats.discard(seat)
        if self._seats or self._task is None:
            return
        if self._task is not asyncio.current_task():
            self._task.cancel()

    def take(self, frame: Frame, seat: Listener) -> None:
        """Put a message on the pile; neither blocks nor raises."""
        if self._pile and self._pile[-1][0] is frame:
            self._pile[-1][1].append(seat)
            return
        self._pile.append((frame, [seat]))
        if self._task is None:
            self._task = asyncio.ensure_future(self._work())

    @abstractmethod
    async def handle(self, entries: Sequence[Entry]) -> None:
        """Tell of what has arrived."""

    async def _work(self) -> None:
        try:
            while self._pile:
                entries, self._pile = self._pile, []
                await self._handle(entries)
        finally:
            self._task = None

    async def _handle(self, entries: Sequence[Entry]) -> None:
        try:
            await self.handle(entries)
        except Exception as error:
            log_failure("Clients cannot be told of a change.", error)
            for _, seats in entries:
                for seat in seats:
                    seat.fail()


D = TypeVar("D", bound=Desk)

# A desk lives as long as anybody who sits at it.
_desks: WeakKeyDictionary[
    asyncio.AbstractEventLoop, WeakValueDictionary[tuple[Any, ...], Desk]
] = WeakKeyDictionary()


def desk_for(key: tuple[Any, ...], make: Callable[[], D]) -> D:
    """Return the desk of the running loop that is known as ``key``."""
    desks = _desks.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    desk = desks.get(key)
    if desk is None:
        desk = desks[key] = make()
    return desk  # type: ignore[return-value]
