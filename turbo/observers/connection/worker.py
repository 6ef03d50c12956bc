"""
The worker of a stream: it handles each message once for all subscriptions, in order.

The hub hands a message to each subscription without waiting. Telling the clients takes
a query and a serializer, so each stream has a worker. The worker takes a message with
all subscriptions that are to be told, does the work once, and tells them. It belongs to
one event loop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar
from weakref import WeakValueDictionary

from turbo.delivery.frame import Frame
from turbo.runtime.loops import PerLoop
from turbo.runtime.queue import KeyedQueues

__all__ = ["Delivery", "Recipient", "Worker", "worker_for"]


class Recipient(Protocol):
    """Who is told."""

    def fail(self) -> None:
        """Say that something cannot be told."""


#: A message, and those who are to be told of it.
Delivery: TypeAlias = tuple[Frame, list[Any]]


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
_workers: PerLoop[WeakValueDictionary[tuple[Any, ...], Worker]] = PerLoop(
    WeakValueDictionary
)


def worker_for(key: tuple[Any, ...], make: Callable[[], D]) -> D:
    """Return the worker of the running loop that is known as ``key``."""
    workers = _workers.get()
    worker = workers.get(key)
    if worker is None:
        worker = workers[key] = make()
    return worker  # type: ignore[return-value]
