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
from turbo.observers.events.shared_query import View
from turbo.observers.wire.replies import encode, event_text
from turbo.observers.wire.requests import Call

__all__ = ["Seat", "Telling", "gone_text"]

STATUS = {"create": 201, "update": 200, "delete": 204, "snapshot": 200}

#: What a consumer may override to change what it sends.
OUT = ("encode_json", "reply", "send", "send_json")


@dataclass(slots=True)
class Telling:
    """
    One event for one client.

    ``instance`` is what permissions are asked about, and ``key`` its primary key.
    ``frames`` holds what others were sent.
    """

    seat: Seat
    action: str
    text: str
    position: str
    frames: dict[Any, Frame]
    instance: Any = None
    key: str = ""


class Seat(Subscription):
    """A client's subscription to what a view shows."""

    def __init__(self, name: str, *, view: View, **given: Any) -> None:
        super().__init__(name, **given)
        self.view = view
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
        return self.view.size + len(self.hidden)

    def take_own_view(self) -> None:
        """Share the view no longer: what it shows depends on the client."""
        self.view.leave(self.consumer)
        self.view = self.view.for_one(self.call.wanted)
        self.view.join(self.consumer)

    async def start(self, since: str = "") -> Arrival:
        """Join the stream and the view."""
        arrival = await super().start(since)
        self.view.join(self.consumer)
        return arrival

    def stop(self) -> None:
        """Leave both."""
        if self.active:
            self.view.leave(self.consumer)
        super().stop()

    def tell(self, telling: Telling) -> None:
        """Send an event."""
        position = telling.position if self.wants_position else ""
        if self._replies:
            self._reply(telling, position)
            return
        key = (telling.action, telling.text, self.request_id, position)
        if (frame := telling.frames.get(key)) is None:
            text = event_text(
                telling.action,
                status=STATUS[telling.action],
                request_id=self.request_id,
                data=telling.text,
                position=position,
            )
            frame = telling.frames[key] = Frame(text)
        self.consumer.link.put(frame)

    async def why_refused(self) -> Exception | None:
        """Return the error that the client would get if it asked for this now."""
        if (error := await super().why_refused()) is not None:
            return error
        return await self.view.why_refused(self.consumer, self.call)

    def _reply(self, telling: Telling, position: str) -> None:
        self.consumer.lane.put(
            partial(
                self.consumer.reply,
                telling.action,
                data=json.loads(telling.text),
                status=STATUS[telling.action],
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
