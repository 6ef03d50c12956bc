"""
The desk of a stream: what arrives for its subscriptions is dealt with once, in order.

The hub hands a message to each subscription without waiting. To tell the clients takes
a query and a serializer, so each stream has a desk, which takes up the message with all
who are to be told, does the work once, and tells them. It belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context
from typing import Any, Generic, Protocol, TypeAlias, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from turbo.delivery.frame import Frame
from turbo.runtime.failures import log_failure

__all__ = ["Desk", "Entry", "Listener", "Piles", "desk_for"]


class Listener(Protocol):
    """Who is told."""

    def fail(self) -> None:
        """Say that something cannot be told."""


#: A message, and those who are to be told of it.
Entry: TypeAlias = tuple[Frame, list[Any]]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Piles(Generic[K, T]):
    """
    Work that is done in order for each key, and for the keys beside each other.

    ``work`` is given all that waits for its key, ``fail`` what it failed with.
    """

    def __init__(
        self,
        work: Callable[[K, list[T]], Awaitable[None]],
        fail: Callable[[list[T]], None],
    ) -> None:
        self._work = work
        self._fail = fail
        self._piles: dict[K, list[T]] = {}
        self._tasks: dict[K, asyncio.Task[None]] = {}

    def put(self, key: K, item: T) -> None:
        """Put something on the pile of ``key``; neither blocks nor raises."""
        self._piles.setdefault(key, []).append(item)
        if key not in self._tasks:
            # Not that of whoever puts it, who may be at work for one client.
            loop, context = asyncio.get_running_loop(), Context()
            self._tasks[key] = loop.create_task(self._run(key), context=context)

    def last(self, key: K) -> T | None:
        """Return what was put there last and still waits."""
        pile = self._piles.get(key)
        return pile[-1] if pile else None

    def waiting(self, key: K) -> int:
        """Return how much waits there."""
        return len(self._piles.get(key, ()))

    def stop(self) -> None:
        """Do nothing more, but for what is put from now on."""
        tasks, self._tasks = self._tasks, {}
        self._piles.clear()
        for task in tasks.values():
            if task is not asyncio.current_task():
                task.cancel()

    async def _run(self, key: K) -> None:
        task = asyncio.current_task()
        try:
            while self._tasks.get(key) is task and (pile := self._piles.pop(key, [])):
                await self._attempt(key, pile)
        finally:
            if self._tasks.get(key) is task:
                del self._tasks[key]

    async def _attempt(self, key: K, pile: list[T]) -> None:
        try:
            await self._work(key, pile)
        except Exception as error:
            log_failure("Clients cannot be told of a change.", error)
            self._fail(pile)


class Desk(ABC):
    """The work of one stream in this process."""

    def __init__(self) -> None:
        self._seats: set[Listener] = set()
        self._arrived: Piles[None, Entry] = Piles(self._handle, self._fail)

    def join(self, seat: Listener) -> None:
        """Count ``seat`` in."""
        self._seats.add(seat)

    def leave(self, seat: Listener) -> None:
        """Count ``seat`` out; the last one ends the work."""
        self._seats.discard(seat)
        if not self._seats:
            self.stop()

    def stop(self) -> None:
        """End the work."""
        self._arrived.stop()

    def take(self, frame: Frame, seat: Listener) -> None:
        """Put a message on the pile; neither blocks nor raises."""
        if (last := self._arrived.last(None)) and last[0] is frame:
            last[1].append(seat)
        else:
            self._arrived.put(None, (frame, [seat]))

    @abstractmethod
    async def handle(self, entries: Sequence[Entry]) -> None:
        """Tell of what has arrived."""

    async def _handle(self, _: None, entries: Sequence[Entry]) -> None:
        await self.handle(entries)

    def _fail(self, entries: Sequence[Entry]) -> None:
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
