"""
The worker of a stream: it handles each message once for all subscriptions, in order.

The hub hands a message to each subscription without waiting. The clients get the result
of a query and a serializer, so each stream has a worker: it takes a message with all
its subscriptions, does the work once, and sends the result to each. It belongs to one
event loop.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar
from weakref import WeakValueDictionary

from turbo.delivery.frame import Frame
from turbo.runtime.loops import PerLoop
from turbo.runtime.namespaces import current
from turbo.runtime.queue import KeyedQueues

__all__ = ["Delivery", "Recipient", "Worker", "worker_for"]


class Recipient(Protocol):
    """A subscription that a worker sends events to."""

    def fail(self) -> None:
        """Send an error: an event could not be sent."""


#: A message, and the subscriptions that it is for.
Delivery: TypeAlias = tuple[Frame, list[Any]]


class Worker(ABC):
    """Handle the messages of one stream in this process."""

    def __init__(self) -> None:
        self._subscriptions: set[Recipient] = set()
        self._received: KeyedQueues[None, Delivery] = KeyedQueues(
            self._handle, self._fail
        )

    def join(self, subscription: Recipient) -> None:
        """Add a subscription."""
        self._subscriptions.add(subscription)

    def leave(self, subscription: Recipient) -> None:
        """Remove a subscription; stop after the last one."""
        self._subscriptions.discard(subscription)
        if not self._subscriptions:
            self.stop()

    def stop(self) -> None:
        """Stop working."""
        self._received.stop()

    def take(self, frame: Frame, subscription: Recipient) -> None:
        """Queue a message; this neither blocks nor raises."""
        if (last := self._received.last(None)) and last[0] is frame:
            last[1].append(subscription)
        else:
            self._received.put(None, (frame, [subscription]))

    @abstractmethod
    async def handle(self, entries: Sequence[Delivery]) -> None:
        """Handle the messages, and send events to their subscriptions."""

    async def _handle(self, _: None, entries: Sequence[Delivery]) -> None:
        await self.handle(entries)

    def _fail(self, entries: Sequence[Delivery]) -> None:
        for _, subscriptions in entries:
            for subscription in subscriptions:
                subscription.fail()


D = TypeVar("D", bound=Worker)

# A worker lives as long as its subscriptions refer to it.
_workers: PerLoop[WeakValueDictionary[tuple[Any, ...], Worker]] = PerLoop(
    WeakValueDictionary
)


def worker_for(key: tuple[Any, ...], make: Callable[[], D]) -> D:
    """Return the running loop's worker for ``key``; make it if there is none."""
    workers, key = _workers.get(), (current(), *key)
    worker = workers.get(key)
    if worker is None:
        worker = workers[key] = make()
    return worker  # type: ignore[return-value]
