"""
uvicorn's WebSocket protocol, with ``turbo.transport`` among the scope's extensions.

A frame is encoded once, however many connections it goes to, and each of them is
handed the same bytes. All else (the handshake, pings, closing, ASGI's own ``send``) is
uvicorn's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from turbo.frame import Frame

__all__ = ["CompressingTransport", "DirectTransport", "WebSocketProtocol"]

#: Characters from which a frame is worth compressing.
COMPRESS_FROM = 1_024
#: Seconds that a client which does not read may hold up the server's end.
SHUTDOWN_GRACE = 2.0

# Without context takeover a compressed frame depends on nothing that was sent before,
# so that it too is the same for every connection.
_DEFLATE = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True,
    client_no_context_takeover=True,
    server_max_window_bits=12,
    client_max_window_bits=12,
    compress_settings={"memLevel": 5},
)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection: ``uvicorn --ws turbo.server:WebSocketProtocol``."""

    _direct: DirectTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection over from uvicorn's HTTP protocol."""
        super().connection_made(transport)
        # Room means an empty buffer: what is sent then goes straight to the kernel.
        self.transport.set_write_buffer_limits(low=0)
        if self.conn.available_extensions:
            self.conn.available_extensions = [_DEFLATE]

    def run_asgi(self) -> Coroutine[Any, Any, None]:
        """Run the application, with the extension in its scope."""
        kind = CompressingTransport if self.conn.extensions else DirectTransport
        self._direct = kind(self.transport, self.conn)
        extensions = cast("dict[str, Any]", self.scope["extensions"])
        extensions["turbo.transport"] = self._direct
        return super().run_asgi()

    def pause_writing(self) -> None:
        """Note that the transport's buffer is full."""
        super().pause_writing()
        if self._direct is not None:
            self._direct.has_room = False

    def resume_writing(self) -> None:
        """Note that the transport's buffer is empty again."""
        super().resume_writing()
        if self._direct is not None:
            self._direct.make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of what belonged to the connection."""
        super().connection_lost(exc)
        if self._direct is not None:
            self._direct.lose()
            self._direct = None

    def shutdown(self) -> None:
        """Close with 1012, and without further delay where nobody reads."""
        super().shutdown()
        if self._direct is not None and not self._direct.has_room:
            self.loop.call_later(SHUTDOWN_GRACE, self.transport.abort)


class DirectTransport:
    """What is found at ``scope["extensions"]["turbo.transport"]``."""

    __slots__ = ("_callback", "_connection", "_transport", "_write", "has_room")

    def __init__(
        self, transport: asyncio.Transport, connection: ServerProtocol
    ) -> None:
        self._transport = transport
        self._connection = connection
        self._write = transport.write
        self._callback: Callable[[], None] | None = None
        self.has_room = True

    def write(self, frame: Frame) -> bool:
        """Write one text frame; return whether there is room for another."""
        if self._connection.state is OPEN:
            self._write(frame.websocket)
        return self.has_room

    def on_room(self, callback: Callable[[], None]) -> None:
        """Call back whenever the buffer has drained."""
        self._callback = callback

    def abort(self) -> None:
        """Drop the connection with whatever its buffer holds."""
        self._transport.abort()

    def make_room(self) -> None:
        """Note that the buffer has drained, and say so."""
        self.has_room = True
        if self._callback is not None:
            self._callback()

    def lose(self) -> None:
        """Note that the connection is lost: what is written from now on is not."""
        self._write = _forget
        self._callback = None


class CompressingTransport(DirectTransport):
    """The same where the client offered compression: longer frames are compressed."""

    __slots__ = ()

    def write(self, frame: Frame) -> bool:
        """Write one text frame; return whether there is room for another."""
        if frame.size < COMPRESS_FROM:
            return super().write(frame)
        if self._connection.state is OPEN:
            self._write(self._compressed(frame))
        return self.has_room

    def _compressed(self, frame: Frame) -> bytes:
        extensions = self._connection.extensions

        def encode(text: str) -> bytes:
            whole = WireFrame(Opcode.TEXT, text.encode(errors="replace"))
            return whole.serialize(mask=False, extensions=extensions)

        # The window's size is all that two clients may have negotiated differently.
        bits = tuple(getattr(item, "local_max_window_bits", 0) for item in extensions)
        encoded: bytes = frame.wire(("websocket", *bits), encode)
        return encoded


def _forget(data: object) -> None:
    """Take what nobody is there to receive."""
