"""The subscriptions of one client, each to one stream of the hub."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

from turbo.conf import get_settings
from turbo.connections.limits import Held
from turbo.delivery.frame import Frame
from turbo.delivery.hub import get_hub
from turbo.delivery.names import stream_id
from turbo.delivery.topic import Arrival
from turbo.observers.connection.worker import Worker
from turbo.observers.wire.notice import Received, this_moment
from turbo.observers.wire.replies import TooMany, Unavailable
from turbo.observers.wire.requests import Call

__all__ = ["Subscription", "Subscriptions"]

logger = logging.getLogger("turbo.observers")

NEVER = ("", 0)


class Subscription:
    """
    A subscriber of the hub that passes the messages of a stream to a worker.

    Between :meth:`start` and :meth:`release` it holds messages back, so that the client
    gets the answer first.
    """

    def __init__(self, name: str, *, worker: Worker, consumer: Any, call: Call) -> None:
        self.name = name
        self.sid = stream_id(name)
        self.worker = worker
        self.consumer = consumer
        #: The client's request; checked again when permissions may have changed.
        self.call = call
        self.active = False
        #: Changes made before this moment are not sent to the client.
        self.begun = NEVER
        self._held: list[Frame] | None = []
        self._holds: dict[Held, int] = {}

    @property
    def size(self) -> int:
        """Return how many rows are remembered for this subscription."""
        return 0

    def hold(self, what: Held, amount: int = 1) -> None:
        """Count ``amount`` towards the client's limit; may raise :exc:`TooMany`."""
        if not self.consumer.visitor.budget.hold(what, amount):
            raise TooMany(f"There are too many {what}.")
        self._holds[what] = self._holds.get(what, 0) + amount

    def hold_rows(self) -> None:
        """Count the remembered rows towards the client's limit."""
        if (more := self.size - self._holds.get("keys", 0)) > 0:
            self.hold("keys", more)

    def give_back(self) -> None:
        """Subtract from the client's limits what this subscription has counted."""
        for what, amount in self._holds.items():
            self.consumer.visitor.budget.release(what, amount)
        self._holds.clear()

    async def start(self, since: str = "") -> Arrival:
        """Join the stream; raise :exc:`Unavailable` if that is not possible."""
        hub = get_hub()
        if not since:
            self.begun = this_moment()
        self.hold("subscriptions")
        try:
            [arrival] = await hub.subscribe(self, [(self.sid, since)])
        except Exception as error:
            self.give_back()
            logger.info("A subscription is not possible: %s", error)
            raise Unavailable from None
        self.active = True
        self._held = list(arrival.frames)
        hub.settle([arrival])
        self.worker.join(self)
        return arrival

    def release(self) -> None:
        """Pass on the messages that were held back, and all further ones."""
        held, self._held = self._held or [], None
        if self.active:
            for frame in held:
                self.worker.take(frame, self)

    def forget(self, arrival: Arrival) -> None:
        """Drop the missed messages in ``arrival``; the client gets something newer."""
        if self._held is not None:
            missed = set(map(id, arrival.frames))
            self._held = [frame for frame in self._held if id(frame) not in missed]

    def deliver(self, frame: Frame) -> None:
        """Pass a message of the stream to the worker, or hold it back."""
        if self._held is None:
            self.worker.take(frame, self)
        else:
            self._held.append(frame)

    def awaits(self, received: Received) -> bool:
        """Return whether a message is to be sent to the client."""
        is_news = received.readable and not received.is_older_than(self.begun)
        return self.active and is_news

    def stop(self) -> None:
        """Leave the stream, and send nothing more."""
        self.active = False
        self.give_back()
        get_hub().unsubscribe(self, [self.sid])
        self.worker.leave(self)

    async def why_refused(self) -> Exception | None:
        """Return the error that the client would get if it subscribed now."""
        try:
            arguments = self.call.arguments
            await self.consumer.check_permissions(self.call.action, **arguments)
        except Exception as error:
            return error
        return None

    def fail(self) -> None:
        """Send an error: an event could not be sent."""
        if self.active:
            self.refuse(RuntimeError("An event could not be sent."))

    def refuse(self, error: Exception, action: str | None = None) -> None:
        """Send an error instead of an event."""
        self.consumer.turns.put(
            partial(
                self.consumer.handle_exception,
                error,
                action=action or self.call.action,
                request_id=self.call.request_id,
            )
        )


class Subscriptions:
    """All subscriptions of one consumer, by key."""

    def __init__(self) -> None:
        self._held: dict[Any, Subscription] = {}
        #: Whether the client has disconnected.
        self.closed = False

    def __iter__(self) -> Iterator[Subscription]:
        return iter(list(self._held.values()))

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Any) -> Subscription | None:
        """Return the subscription under ``key``."""
        return self._held.get(key)

    def items(self) -> list[tuple[Any, Subscription]]:
        """Return keys and subscriptions."""
        return list(self._held.items())

    def check_room(self) -> None:
        """Raise :exc:`TooMany` if the client may not subscribe to more."""
        if len(self._held) >= (limit := get_settings().max_streams):
            raise TooMany(f"A connection holds at most {limit} subscriptions.")

    def add(self, key: Any, subscription: Subscription) -> None:
        """Keep a subscription, and end the one that had the key before."""
        self.drop(key)
        if self.closed:  # the client has disconnected meanwhile
            subscription.stop()
            raise Unavailable
        self._held[key] = subscription

    def drop(self, key: Any) -> None:
        """End the subscription under ``key``, if there is one."""
        if (held := self._held.pop(key, None)) is not None:
            held.stop()

    def discard(self, subscription: Subscription) -> None:
        """End one subscription."""
        for key, held in self.items():
            if held is subscription:
                self.drop(key)

    def clear(self) -> None:
        """End all subscriptions."""
        for key in list(self._held):
            self.drop(key)

    def close(self) -> None:
        """End all subscriptions, and refuse new ones."""
        self.closed = True
        self.clear()
