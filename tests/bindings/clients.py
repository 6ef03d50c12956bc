"""JSON clients of a binding: one that reads messages, and one that follows them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import websockets
from channels.testing import WebsocketCommunicator

from turbo.bindings import BindingConsumer

__all__ = ["Follower", "Rows", "Talk"]


class Talk:
    """A conversation with a consumer in the test's own loop, without a network."""

    def __init__(
        self, consumer: type[BindingConsumer], *, version: str = "", **scope: Any
    ) -> None:
        path = f"/ws/?version={version}" if version else "/ws/"
        self.communicator = WebsocketCommunicator(consumer.as_asgi(), path)
        self.communicator.scope.update(scope)

    async def __aenter__(self) -> Talk:
        connected, _ = await self.communicator.connect()
        assert connected
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await self.communicator.disconnect()

    async def send(self, **message: Any) -> None:
        await self.send_text(json.dumps(message))

    async def send_text(self, text: str) -> None:
        await self.communicator.send_to(text_data=text)

    async def receive(self, timeout: float = 5) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(
            await self.communicator.receive_from(timeout)
        )
        return message

    async def synced(self) -> list[dict[str, Any]]:
        """Return the messages up to the one that says that is all."""
        messages = [await self.receive()]
        while messages[-1].get("payload") != "ok":
            messages.append(await self.receive())
        return messages

    async def closed(self) -> int:
        """Return the code with which the server closes."""
        message = await self.communicator.receive_output(5)
        assert message["type"] == "websocket.close"
        return int(message["code"])


class Rows:
    """What a client makes of the messages: the rows, in order."""

    def __init__(self) -> None:
        self.version = ""
        self.values: dict[str, Any] = {}
        self.order: list[str] = []

    def take(self, message: dict[str, Any]) -> None:
        action = message["action"]
        keys = [json.dumps(key) for key in message.get("keys", [])]
        if action == "sync" and message.get("page") == 1:
            self.values, self.order = {}, []
        if action == "sync" and "page" in message:
            self.order += keys
            self.values.update(zip(keys, message["payload"], strict=True))
        elif action == "order":
            self.order = keys + [key for key in self.order if key not in set(keys)]
        elif action in ("create", "update", "delete"):
            self._change(keys[0], message)
        if not ("page" in message and message["page"] < message["pages"]):
            self.version = message.get("version", self.version)

    def all(self) -> dict[str, Any]:
        return {key: self.values[key] for key in self.order}

    def _change(self, key: str, message: dict[str, Any]) -> None:
        assert (key in self.values) != (message["action"] == "create")
        if key in self.values:
            self.order.remove(key)
            del self.values[key]
        if message["action"] != "delete":
            self.order.insert(message["index"], key)
            self.values[key] = message["payload"][0]


class Follower:
    """A client over the network that stays, whatever happens, and resumes."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._socket: Any = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self.rows = Rows()
        self.messages = 0
        self.syncs = 0
        self.connections = 0

    async def __aenter__(self) -> Follower:
        self._task = asyncio.ensure_future(self._stay())
        await self.until(lambda: self.rows.version != "")
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def until(self, condition: Callable[[], bool], timeout: float = 30) -> None:
        async with asyncio.timeout(timeout), self._changed:
            await self._changed.wait_for(condition)

    def cut(self) -> None:
        """Break the connection without a close frame."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def _stay(self) -> None:
        while True:
            try:
                await self._visit()
            except (OSError, websockets.WebSocketException):
                await asyncio.sleep(0.05)

    async def _visit(self) -> None:
        origin: Any = self._url.replace("ws", "http", 1)
        url = f"{self._url}?version={self.rows.version}"
        async with websockets.connect(url, origin=origin, ping_interval=None) as socket:
            self._socket = socket
            self.connections += 1
            async for text in socket:
                message = json.loads(text)
                self.messages += 1
                self.syncs += message.get("page") == 1
                self.rows.take(message)
                async with self._changed:
                    self._changed.notify_all()
