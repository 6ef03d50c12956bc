"""
The worker of a stream: it handles each message once for all subscriptions, in order.

The hub hands a message to each subscription without waiting. Telling the clients takes
a query and a serializer, so each stream has a worker. The worker takes a message with
all subscriptions that are to be told, does the work once, and tells them. It belongs to
one event loop.
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

__all__ = ["Delivery", "KeyedQueues", "Recipient", "Worker", "worker_for"]


class Recipient(Protocol):
    """Who is told."""

    def fail(self) -> None:
        """Say that something cannot be told."""


#: A message, and those who are to be told of it.
Delivery: TypeAlias = tuple[Frame, list[Any]]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class KeyedQueues(Generic[K, T]):
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
        self._queues: dict[K, list[T]] = {}
        self._tasks: dict[K, asyncio.Task[None]] = {}

    def put(self, key: K, item: T) -> None:
        """Put something on the queue of ``key``; neither blocks nor raises."""
        self._queues.setdefault(key, []).append(item)
        if key not in self._tasks:
            # Not that of whoever puts it, who may be at work for one client.
            loop, context = asyncio.get_running_loop(), Context()
            self._tasks[key] = loop.create_task(self._run(key), context=context)

    def last(self, key: K) -> T | None:
        """Return what was put there last and still waits."""
        items = self._queues.get(key)
        return items[-1] if items else None

    def waiting(self, key: K) -> int:
        """Return how much waits there."""
        return len(self._queues.get(key, ()))

    def stop(self) -> None:
        """Do nothing more, but for what is put from now on."""
        tasks, self._tasks = self._tasks, {}
        self._queues.clear()
        for task in tasks.values():
            if task is not asyncio.current_task():
                task.cancel()

    async def _run(self, key: K) -> None:
        task = asyncio.current_task()
        try:
            while self._tasks.get(key) is task and (items := self._queues.pop(key, [])):
                await self._attempt(key, items)
        finally:
            if self._tasks.get(key) is task:
                del self._tasks[key]

    async def _attempt(self, key: K, items: list[T]) -> None:
        try:
            await self._work(key, items)
        except Exception as error:
            log_failure("Clients cannot be told of a change.", error)
            self._fail(items)


class Worker(ABC):
    """The work of one stream in this process."""

    def __init__(self) -> None:
        self._subscriptions: set[Recipient] = set()
        self._received: KeyedQueues[None, Delivery] = KeyedQueues(
            self._handle, self._fail
        )

    def join(self, subscription: Recipient) -> None:
        """Count ``subscription`` in."""
        self._subscriptions.add(subscription)

    def leave(self, subscription: Recipient) -> None:
        """Count ``subscription`` out; the last one ends the work."""
        self._subscriptions.discard(subscription)
        if not self._subscriptions:
            self.stop()

    def stop(self) -> None:
        """End the work."""
        self._received.stop()

    def take(self, frame: Frame, subscription: Recipient) -> None:
        """Put a message on the queue; neither blocks nor raises."""
        if (last := self._received.last(None)) and last[0] is frame:
            last[1].append(subscription)
        else:
            self._received.put(None, (frame, [subscription]))

    @abstractmethod
    async def handle(self, entries: Sequence[Delivery]) -> None:
        """Tell of what has arrived."""

    async def _handle(self, _: None, entries: Sequence[Delivery]) -> None:
        await self.handle(entries)

    def _fail(self, entries: Sequence[Delivery]) -> None:
        for _, subscriptions in entries:
            for subscription in subscriptions:
                subscription.fail()


D = TypeVar("D", bound=Worker)

# A worker lives as long as a subscription that joined it.
_workers: WeakKeyDictionary[
    asyncio.AbstractEventLoop, WeakValueDictionary[tuple[Any, ...], Worker]
] = WeakKeyDictionary()


def worker_for(key: tuple[Any, ...], make: Callable[[], D]) -> D:
    """Return the worker of the running loop that is known as ``key``."""
    workers = _workers.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    worker = workers.get(key)
    if worker is None:
        worker = workers[key] = make()
    return worker  # type: ignore[return-value]
