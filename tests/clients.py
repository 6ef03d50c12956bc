"""Clients of the wire protocol, for tests that look at frames instead of pages."""

from __future__ import annotations

import json
from typing import Any

from channels.testing import WebsocketCommunicator

from turbo.consumers import TurboStreamsConsumer

__all__ = ["Socket"]


class Socket:
    """
    A WebSocket without a network: the consumer runs in the test's own loop.

    Signs of life are passed over; everything else must be read in order.
    """

    def __init__(self, user: Any = None, **scope: Any) -> None:
        self.communicator = WebsocketCommunicator(
            TurboStreamsConsumer.as_asgi(), "/ws/"
        )
        self.communicator.scope.update(scope)
        if user is not None:
            self.communicator.scope["user"] = user

    async def __aenter__(self) -> Socket:
        connected, _ = await self.communicator.connect()
        assert connected
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await self.communicator.disconnect()

    async def send(self, **frame: Any) -> None:
        await self.send_text(json.dumps(frame))

    async def send_text(self, text: str) -> None:
        await self.communicator.send_to(text_data=text)

    async def receive(self, timeout: float = 5) -> dict[str, Any]:
        text = await self.communicator.receive_from(timeout)
        frame: dict[str, Any] = json.loads(text)
        return await self.receive(timeout) if frame["type"] == "ping" else frame

    async def subscribe(self, *signed: str, since: str = "") -> list[dict[str, Any]]:
        """Subscribe, and return the answer to each name."""
        streams = [{"name": name, "since": since} for name in signed]
        await self.send(type="subscribe", streams=streams)
        return [await self.receive() for _ in signed]

    async def messages(self, count: int = 1) -> list[str]:
        """Return the data of the next ``count`` frames, which must be messages."""
        frames = [await self.receive() for _ in range(count)]
        assert {frame["type"] for frame in frames} <= {"message"}, frames
        return [frame["data"] for frame in frames]

    async def nothing(self) -> bool:
        """Return whether the server has nothing to say that it was asked before."""
        await self.send(type="ping")
        return await self.receive() == {"type": "pong"}
