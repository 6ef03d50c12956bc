"""The client's end of one connection, in this process or over a network."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Protocol, Self

import websockets
from channels.testing import WebsocketCommunicator

from tests.fuzz.frames import Frame
from tests.support.clients import connect
from tests.support.servers import PATIENCE
from turbo.typing import ASGIApplication

__all__ = ["Closed", "InProcess", "Live", "Peer"]


class Closed(Exception):
    """The server has ended the connection."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class Peer(Protocol):
    """Who sends frames and reads answers; :exc:`Closed` ends it."""

    async def __aenter__(self) -> Self:
        """Connect."""

    async def __aexit__(self, *exc_info: Any) -> None:
        """Leave."""

    async def send(self, frame: Frame) -> None:
        """Send a frame."""

    async def next(self) -> str:
        """Return the next text frame of the server."""


class InProcess(Peer):
    """A peer in the server's own event loop, without a network."""

    def __init__(self, application: ASGIApplication, path: str, user: Any) -> None:
        self._communicator = WebsocketCommunicator(application, path)
        self.scope: dict[str, Any] = self._communicator.scope
        self.scope["user"] = user
        self._is_closed = False

    async def __aenter__(self) -> Self:
        connected, code = await self._communicator.connect(PATIENCE)
        if not connected:
            raise Closed(code)
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        if self._is_closed:
            await self._communicator.wait(PATIENCE)
        else:
            await self._communicator.disconnect(timeout=PATIENCE)

    async def send(self, frame: Frame) -> None:
        # send_to() of the communicator takes no empty frames; servers do.
        kind = "text" if isinstance(frame, str) else "bytes"
        await self._communicator.send_input({"type": "websocket.receive", kind: frame})

    async def next(self) -> str:
        message = await self._communicator.receive_output(PATIENCE)
        if message["type"] == "websocket.close":
            self._is_closed = True
            # The server of the application answers a close like this.
            code = message.get("code", 1000)
            await self._communicator.send_input(
                {"type": "websocket.disconnect", "code": code}
            )
            raise Closed(code)
        text = message["text"]
        assert isinstance(text, str)
        return text


class Live(Peer):
    """A peer over a socket."""

    def __init__(self, url: str, **headers: str) -> None:
        origin: Any = "http" + url.removeprefix("ws").partition("/ws")[0]
        self._opening = connect(
            url, origin=origin, additional_headers=headers, max_size=None
        )

    async def __aenter__(self) -> Self:
        self._socket = await self._opening.__aenter__()
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await self._opening.__aexit__(*exc_info)

    async def send(self, frame: Frame) -> None:
        with suppress(websockets.ConnectionClosed):  # the next answer says so
            await self._socket.send(frame)

    async def send_as_text(self, frame: bytes) -> None:
        """Send a text frame that may hold what is no text."""
        await self._socket.send(frame, text=True)

    async def next(self) -> str:
        try:
            text = await self._socket.recv()
        except websockets.ConnectionClosed:
            raise Closed(self._socket.close_code) from None
        assert isinstance(text, str)
        return text
