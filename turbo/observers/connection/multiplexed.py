"""One consumer behind a multiplexer, with its own link and its own queue."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

from channels.exceptions import StopConsumer
from rest_framework.exceptions import APIException, PermissionDenied

from turbo.connections.websocket import Link
from turbo.delivery.frame import Frame
from turbo.observers.connection.api_connection import JsonConnection
from turbo.observers.wire.replies import encode, envelope, errors_list
from turbo.observers.wire.requests import is_request_id
from turbo.runtime.failures import log_failure
from turbo.typing import Message, Scope

__all__ = ["MultiplexedConnection", "refusal", "wrap"]

#: Messages that may wait for one consumer; then no more are read from the client.
WAITING = 16


def wrap(stream: str | None, payload: str) -> str:
    """
    Return the frame for a stream whose payload is JSON text.

    >>> wrap("people", '{"action":"list"}')
    '{"stream":"people","payload":{"action":"list"}}'
    """
    return f'{{"stream":{json.dumps(stream)},"payload":{payload}}}'


def refusal(
    stream: str | None, error: APIException, payload: Mapping[str, Any]
) -> Frame:
    """Return the answer to a message that no consumer takes."""
    request_id = payload.get("request_id")
    content = envelope(
        payload.get("action"),
        errors=errors_list(error.detail),
        status=error.status_code,
        request_id=request_id if is_request_id(request_id) else None,
    )
    return Frame(wrap(stream, encode(content)))


class MultiplexedConnection:
    """The link of one consumer, which uses it like a connection of its own."""

    def __init__(
        self, name: str, endpoint: JsonConnection, scope: Scope, socket: Link
    ) -> None:
        self.name = name
        self.open = False
        self._is_closed = False
        self._endpoint = endpoint
        self._socket = socket
        self._waiting: asyncio.Queue[Any] = asyncio.Queue(WAITING)
        self._task: asyncio.Task[None] | None = None
        endpoint.attach(scope, self)

    # --- For the multiplexer

    async def connect(self, message: Message) -> None:
        """Let the consumer accept or refuse the client."""
        try:
            await self._endpoint.websocket_connect(message)
        except Exception as error:
            self._end()
            self._log(error)
        if self.open:
            self._task = asyncio.ensure_future(self._work())

    async def pass_on(self, payload: Any) -> None:
        """Queue a message for the consumer."""
        if self.open:
            await self._waiting.put(payload)
        else:
            self._refuse(PermissionDenied(), payload)

    async def hang_up(self, message: Message) -> None:
        """Let the consumer handle that the client has disconnected."""
        self.open = False
        try:
            if self._task is not None:
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
        finally:
            await self._clean_up(message)

    # --- For the consumer

    def put(self, frame: Frame) -> None:
        """Send a text frame."""
        wrapped = frame.wire(
            (MultiplexedConnection, self.name),
            lambda text: Frame(wrap(self.name, text)),
        )
        self._socket.put(wrapped)

    async def send_bytes(self, data: bytes) -> None:
        """Raise ``TypeError``: a binary frame cannot name its stream."""
        raise TypeError("A multiplexed consumer cannot send bytes.")

    async def accept(
        self,
        subprotocol: str | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        """Let the client use this consumer, unless it was refused before."""
        self.open = not self._is_closed

    async def close(self, code: int, reason: str = "") -> None:
        """Refuse all further messages of the client, and send it no more events."""
        self._end()

    def end_as_slow(self) -> None:
        """End the whole connection, because its client is too slow."""
        self._socket.end_as_slow()

    def _end(self) -> None:
        self.open, self._is_closed = False, True
        self._endpoint.subscriptions.close()

    async def _clean_up(self, message: Message) -> None:
        try:
            await self._endpoint.websocket_disconnect(message)
        except StopConsumer:
            pass  # what overrides a method of Channels may end like this
        except Exception as error:
            self._log(error)

    async def _work(self) -> None:
        while True:
            payload = await self._waiting.get()
            try:
                if self.open:
                    await self._receive(payload)
                else:
                    self._refuse(PermissionDenied(), payload)
            except Exception as error:
                self._log(error)
                self._refuse(APIException("Internal server error"), payload)

    async def _receive(self, payload: dict[str, Any]) -> None:
        if type(self._endpoint).receive is JsonConnection.receive:
            await self._endpoint.receive_json(dict(payload))
        else:
            await self._endpoint.receive(text_data=encode(payload))

    def _refuse(self, error: APIException, payload: Any) -> None:
        self._socket.put(refusal(self.name, error, payload))

    def _log(self, error: Exception) -> None:
        log_failure(f"The consumer of the stream {self.name!r} failed.", error)
