"""Subscriptions to rows: to one object, or to a list."""

from __future__ import annotations

import json
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from inspect import getattr_static
from typing import Any

from turbo.delivery.frame import Frame
from turbo.delivery.topic import Arrival
from turbo.observers.connection.subscriptions import Subscription
from turbo.observers.consumers import AsyncAPIConsumer
from turbo.observers.events.shared_query import SharedQuery
from turbo.observers.wire.replies import encode, event_text
from turbo.observers.wire.requests import Call

__all__ = ["RowEvent", "RowSubscription", "gone_text", "send_handled"]

#: The event that a consumer's own handle_observed_action() handles.
_handled: ContextVar[RowEvent | None] = ContextVar("turbo_handled", default=None)

STATUS = {"create": 201, "update": 200, "delete": 204, "snapshot": 200}

#: Methods that a consumer may override to change what it sends.
OUT = ("encode_json", "reply", "send", "send_json")


@dataclass(slots=True)
class RowEvent:
    """
    One event for one client.

    Permissions are checked for ``instance``, whose primary key is ``key``. ``frames``
    holds the frames that have been sent to other clients.
    """

    subscription: RowSubscription
    action: str
    text: str
    position: str
    frames: dict[Any, Frame]
    instance: Any = None
    key: str = ""


class RowSubscription(Subscription):
    """A client's subscription to the rows of a query."""

    def __init__(self, name: str, *, query: SharedQuery, **given: Any) -> None:
        super().__init__(name, **given)
        self.query = query
        self.request_id = encode(self.call.request_id)
        #: Whether events contain positions; only clients that use them get them.
        self.wants_position = knows_positions(self.call)
        #: Whether the client of an instance has seen it, and got no ``delete`` since.
        self.shown = True
        #: Whether permissions are checked for each event.
        self.asks = self.consumer.asks_per_event()
        #: The rows of a list that permissions hide from this client.
        self.hidden: set[str] = set()
        self._replies = any(
            getattr_static(type(self.consumer), name)
            is not getattr_static(AsyncAPIConsumer, name)
            for name in OUT
        )

    @property
    def size(self) -> int:
        """Return how many rows are remembered for this subscription."""
        return self.query.size + len(self.hidden)

    def take_own_query(self) -> None:
        """Stop sharing the query, because its rows depend on the client."""
        self.query.leave(self.consumer)
        self.query = self.query.for_one(self.call.wanted)
        self.query.join(self.consumer)

    async def start(self, since: str = "") -> Arrival:
        """Join the stream and the query."""
        arrival = await super().start(since)
        self.query.join(self.consumer)
        return arrival

    def stop(self) -> None:
        """Leave the stream and the query."""
        if self.active:
            self.query.leave(self.consumer)
        super().stop()

    def tell(self, event: RowEvent) -> None:
        """Send an event, or let the consumer handle it."""
        if self.query.action == "retrieve" and self.consumer.handles_observed_actions:
            self.consumer.turns.put(partial(self._let_handle, event))
        else:
            self.send(event)

    async def _let_handle(self, event: RowEvent) -> None:
        token = _handled.set(event)
        try:
            await self.consumer.handle_observed_action(
                action=event.action, group=self.name, pk=json.loads(event.key)
            )
        finally:
            _handled.reset(token)

    def send(self, event: RowEvent) -> None:
        """Send an event."""
        position = event.position if self.wants_position else ""
        if self._replies or event.action not in STATUS:
            self._reply(event, position)
            return
        key = (event.action, event.text, self.request_id, position)
        if (frame := event.frames.get(key)) is None:
            text = event_text(
                event.action,
                status=STATUS[event.action],
                request_id=self.request_id,
                data=event.text,
                position=position,
            )
            frame = event.frames[key] = Frame(text)
        self.consumer.link.put(frame)

    async def why_refused(self) -> Exception | None:
        """Return the error that the client would get if it subscribed now."""
        if (error := await super().why_refused()) is not None:
            return error
        return await self.query.why_refused(self.consumer, self.call)

    def _reply(self, event: RowEvent, position: str) -> None:
        self.consumer.turns.put(
            partial(
                self.consumer.websocket_reply,
                event.action,
                data=json.loads(event.text),
                status=STATUS.get(event.action, 200),
                request_id=self.call.request_id,
                extra={"position": position} if position else None,
            )
        )


def send_handled(action: str) -> bool:
    """Send the event that is being handled, if any, and return whether there is."""
    if (event := _handled.get()) is None:
        return False
    event.subscription.send(replace(event, action=action))
    return True


def gone_text(key: str) -> str:
    """
    Return the data of an event about a row that is gone.

    >>> gone_text("5")
    '{"pk":5}'
    """
    return f'{{"pk":{key}}}'


def knows_positions(call: Call) -> bool:
    """Return whether a client uses positions: it asked for a snapshot, or gave one."""
    return bool(call.arguments.get("snapshot") or call.arguments.get("since"))
