"""JSON clients of a binding: one that reads messages, and one that follows them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import websockets

from tests.support import clients
from tests.support.servers import PATIENCE
from turbo.bindings import BindingConsumer

__all__ = ["Follower", "Rows", "Talk"]


class Talk(clients.Talk):
    """A conversation with a consumer of bindings."""

    def __init__(
        self, consumer: type[BindingConsumer], *, version: str = "", **scope: Any
    ) -> None:
        path = f"/ws/?version={version}" if version else "/ws/"
        super().__init__(consumer.as_asgi(), path, **scope)

    async def synced(self) -> list[dict[str, Any]]:
        """Return the messages up to the one that says that is all."""
        messages = [await self.receive()]
        while messages[-1].get("payload") != "ok":
            messages.append(await self.receive())
        return messages

    async def closed(self) -> int:
        """Return the code with which the server closes."""
        message = await self.communicator.receive_output(PATIENCE)
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


class Follower(clients.Staying):
    """A client that keeps the rows, whatever happens, and resumes."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self.rows = Rows()
        self.messages = 0
        self.syncs = 0
        self.connections = 0

    def _has_arrived(self) -> bool:
        return self.rows.version != ""

    async def _stay(self) -> None:
        while True:
            try:
                await self._visit()
            except (OSError, websockets.WebSocketException):
                await asyncio.sleep(0.05)

    async def _visit(self) -> None:
        origin: Any = self._url.replace("ws", "http", 1)
        url = f"{self._url}?version={self.rows.version}"
        async with clients.connect(url, origin=origin) as socket:
            self._socket = socket
            self.connections += 1
            async for text in socket:
                message = json.loads(text)
                self.messages += 1
                self.syncs += message.get("page") == 1
                self.rows.take(message)
                await self._tell()
