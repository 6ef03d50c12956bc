"""
Several consumers over one WebSocket.

::

    class Everything(Multiplexer):
        consumers = {"people": PeopleConsumer, "rooms": RoomConsumer}

    → {"stream": "people", "payload": {"action": "retrieve", "request_id": 1, "pk": 1}}
    ← {"stream": "people", "payload": {"action": "retrieve", "errors": [],
       "response_status": 200, "request_id": 1, "data": {"id": 1, "name": "Ann"}}}

Each consumer has its own permissions, errors and queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from difflib import get_close_matches
from typing import Any, ClassVar

from rest_framework.exceptions import APIException, NotFound, ParseError

from turbo import metrics
from turbo.connections.budgets import ConnectionBudget
from turbo.connections.websocket import Link
from turbo.delivery.client_json import read_json
from turbo.delivery.frame import Frame
from turbo.delivery.protocol import CloseCode
from turbo.exceptions import ConfigurationError
from turbo.observers.connection.api_connection import Application, JsonConnection
from turbo.observers.connection.multiplexed import MultiplexedConnection, refusal, wrap
from turbo.observers.wire.replies import LIMITED
from turbo.observers.wire.requests import text_of
from turbo.typing import ASGIApplication, Message, Scope

__all__ = ["Multiplexer"]


class Multiplexer(Application):
    """One WebSocket for several ``consumers``, each under the name of its stream."""

    consumers: ClassVar[Mapping[str, type[Any]]] = {}

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> ASGIApplication:
        """Return an ASGI application that serves each connection."""
        name = cls.__qualname__
        if not cls.consumers:
            meant = get_close_matches("consumers", vars(cls), n=1)
            hint = f", not {meant[0]!r}" if meant else ""
            raise ConfigurationError(
                f"{name} has no consumers: set its attribute 'consumers'{hint}."
            )
        given: Mapping[str, Any] = cls.consumers
        for stream, consumer in given.items():
            if not (
                isinstance(consumer, type) and issubclass(consumer, JsonConnection)
            ):
                raise ConfigurationError(
                    f"{name}.consumers[{stream!r}] is {consumer!r}, but has to be a "
                    f"consumer class, without as_asgi()."
                )
        return super().as_asgi(**initkwargs)

    def attach(self, scope: Scope, link: Link) -> None:
        """Set the connection that this object serves."""
        self._link = link
        self._budget = ConnectionBudget(scope)
        made = {name: consumer() for name, consumer in self.consumers.items()}
        self._connections = {
            name: MultiplexedConnection(name, consumer, scope, link)
            for name, consumer in made.items()
        }

    @property
    def websocket_budget(self) -> ConnectionBudget:
        """Return the limits of the client for all consumers together."""
        return self._budget

    async def websocket_connect(self, message: Message) -> None:
        """Connect to every consumer; the client is let in if any of them does."""
        for connection in self._connections.values():
            await connection.connect(message)
        if any(connection.open for connection in self._connections.values()):
            await self._link.accept()
        else:
            await self._link.close(CloseCode.FORBIDDEN)

    async def websocket_receive(self, message: Message) -> None:
        """Pass a frame on to the consumer of its stream."""
        stream: str | None = None
        payload: dict[str, Any] = {}
        try:
            stream, payload = _parse(text_of(message))
            connection = self._connections.get(stream)
            if connection is None:
                raise NotFound(f"There is no stream {stream!r}.")
        except APIException as error:
            metrics.count("bad_frames")
            self._link.put(refusal(stream, error, payload))
        else:
            await connection.pass_on(payload)

    async def websocket_disconnect(self, message: Message) -> None:
        """Disconnect from every consumer."""
        async with AsyncExitStack() as stack:  # each, also if one is cancelled
            stack.callback(self._budget.close)
            for connection in reversed(self._connections.values()):
                stack.push_async_callback(connection.hang_up, message)

    def websocket_limited(self) -> None:
        """Tell the client that it sends faster than its frames are read."""
        self._link.put(Frame(wrap(None, LIMITED)))


def _parse(text: str) -> tuple[str, dict[str, Any]]:
    try:
        content = read_json(text)
    except (ValueError, RecursionError):
        raise ParseError("The frame is not JSON.") from None
    if not isinstance(content, dict):
        raise ParseError("The frame is not a JSON object.")
    stream = content.get("stream")
    if not isinstance(stream, str) or not isinstance(content.get("payload"), dict):
        raise ParseError('The frame is not of the form {"stream": …, "payload": {…}}.')
    return stream, content["payload"]
