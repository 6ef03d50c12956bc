"""The subscriptions of clients to rows: to one object, or to a list."""

from __future__ import annotations

import json
from dataclasses import dataclass
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

__all__ = ["RowEvent", "RowSubscription", "gone_text"]

STATUS = {"create": 201, "update": 200, "delete": 204, "snapshot": 200}

#: What a consumer may override to change what it sends.
OUT = ("encode_json", "reply", "send", "send_json")


@dataclass(slots=True)
class RowEvent:
    """
    One event for one client.

    ``instance`` is what permissions are asked about, and ``key`` its primary key.
    ``frames`` holds what others were sent.
    """

    subscription: RowSubscription
    action: str
    text: str
    position: str
    frames: dict[Any, Frame]
    instance: Any = None
    key: str = ""


class RowSubscription(Subscription):
    """A client's subscription to what a query shows."""

    def __init__(self, name: str, *, query: SharedQuery, **given: Any) -> None:
        super().__init__(name, **given)
        self.query = query
        self.request_id = encode(self.call.request_id)
        #: Clients that know of positions are told of them; others are not confused.
        self.wants_position = knows_positions(self.call)
        #: Whether the client of an instance has been told of it, and not of its end.
        self.shown = True
        #: Whether an event may be refused to this client and not to others.
        self.asks = self.consumer.asks_per_event()
        #: Rows of a list that a permission has refused.
        self.hidden: set[str] = set()
        self._replies = any(
            getattr_static(type(self.consumer), name)
            is not getattr_static(AsyncAPIConsumer, name)
            for name in OUT
        )

    @property
    def size(self) -> int:
        """Return how many rows are remembered for this."""
        return self.query.size + len(self.hidden)

    def take_own_query(self) -> None:
        """Share the query no longer: what it shows depends on the client."""
        self.query.leave(self.consumer)
        self.query = self.query.for_one(self.call.wanted)
        self.query.join(self.consumer)

    async def start(self, since: str = "") -> Arrival:
        """Join the stream and the query."""
        arrival = await super().start(since)
        self.query.join(self.consumer)
        return arrival

    def stop(self) -> None:
        """Leave both."""
        if self.active:
            self.query.leave(self.consumer)
        super().stop()

    def tell(self, event: RowEvent) -> None:
        """Send an event."""
        position = event.position if self.wants_position else ""
        if self._replies:
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
        """Return the error that the client would get if it asked for this now."""
        if (error := await super().why_refused()) is not None:
            return error
        return await self.query.why_refused(self.consumer, self.call)

    def _reply(self, event: RowEvent, position: str) -> None:
        self.consumer.turns.put(
            partial(
                self.consumer.reply,
                event.action,
                data=json.loads(event.text),
                status=STATUS[event.action],
                request_id=self.call.request_id,
                extra={"position": position} if position else None,
            )
        )


def gone_text(key: str) -> str:
    """
    Return what a client is told of a row that is gone.

    >>> gone_text("5")
    '{"pk":5}'
    """
    return f'{{"pk":{key}}}'


def knows_positions(call: Call) -> bool:
    """Return whether a client asked for a snapshot, or said where it stands."""
    return bool(call.arguments.get("snapshot") or call.arguments.get("since"))
