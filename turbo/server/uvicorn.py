"""
uvicorn's WebSocket protocol with the extension ``turbo.transport`` in the scope.

uvicorn does everything else: the handshake, pings, closing, and ASGI's own ``send``.
:class:`~turbo.server.read_control.ReadControl` decides when the socket is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame as WireFrame

from turbo.server.read_control import ReadControl, largest_frame
from turbo.server.uvicorn_transport import DirectTransport

__all__ = ["OfferedTransport", "WebSocketProtocol"]

#: Seconds for a client to read the last frames.
GRACE = 2.0
#: The close code for text that is not UTF-8.
NO_TEXT = 1007
#: An empty pong frame, as clients send it.
EMPTY_PONG = b"\x8a\x80\0\0\0\0"

# Without context takeover, a compressed frame does not depend on earlier frames, so it
# is the same for every connection.
_DEFLATE = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True,
    client_no_context_takeover=True,
    server_max_window_bits=12,
    client_max_window_bits=12,
    compress_settings={"memLevel": 5},
)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """One connection: ``uvicorn --ws turbo.server:WebSocketProtocol``."""

    _direct: OfferedTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the connection from uvicorn's HTTP protocol."""
        super().connection_made(transport)
        self._read_control = ReadControl(self)
        if self.conn.available_extensions:
            self.conn.available_extensions = [_DEFLATE]

    def run_asgi(self) -> Coroutine[Any, Any, None]:
        """Run the application, with the extension in its scope."""
        self._direct = OfferedTransport(self)
        extensions = cast("dict[str, Any]", self.scope["extensions"])
        extensions["turbo.transport"] = self._direct
        return super().run_asgi()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """Drop a client that does not read the last messages within a short time."""
        super().on_task_complete(task)
        if not self.writable.is_set():
            self.loop.call_later(GRACE, self.transport.abort)

    def keepalive_timeout(self) -> None:
        """Drop a client that answers no ping, even if its buffer is not empty."""
        super().keepalive_timeout()
        self.loop.call_later(GRACE, self.transport.abort)

    def shutdown(self) -> None:
        """Close with 1012; abort after a short time if the client does not read."""
        super().shutdown()
        self.loop.call_later(GRACE, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything that belongs to the connection."""
        super().connection_lost(exc)
        self._read_control.close()
        if self._direct is not None:
            self._direct.lose()
            self._direct = None

    # --- What goes out

    def pause_writing(self) -> None:
        """Note that the transport's buffer is full, and stop reading."""
        super().pause_writing()
        self._read_control.go_on()

    def resume_writing(self) -> None:
        """Note that the transport's buffer is empty again."""
        super().resume_writing()
        if self.pong_timer is not None and self.ping_timeout is not None:
            # The client reads, so it is alive; its pong may have come unread.
            self.pong_timer.cancel()
            self.pong_timer = self.loop.call_later(
                self.ping_timeout, self.keepalive_timeout
            )
        self._read_control.go_on()

    async def send(self, message: Any) -> None:
        """Send a message of the application."""
        await super().send(message)
        if message["type"] == "websocket.accept" and self._direct is not None:
            self._direct.limit_frames()
        # uvicorn resumes reading after the acceptance and the close.
        self._read_control.go_on()

    # --- What comes in

    def data_received(self, data: bytes) -> None:
        """Take data from the client, and parse as much as is allowed now."""
        self._read_control.take(data)

    async def receive(self) -> Any:
        """Return the next message for the application."""
        message = await self.queue.get()
        self.read_paused = self.read_paused and not self.queue.empty()
        self._read_control.go_on()
        return message

    def send_receive_event_to_app(self) -> None:
        """Pass on a message; close if its text is not UTF-8, without a traceback."""
        if self.curr_msg_data_type == "text" and not self.close_sent:
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.send_close(NO_TEXT)
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def handle_ping(self) -> None:
        """Answer a ping."""
        self._read_control.count()
        super().handle_ping()

    def handle_pong(self, event: WireFrame) -> None:
        """Handle a pong."""
        self._read_control.count()
        super().handle_pong(event)

    def handle_cont(self, event: WireFrame) -> None:
        """Handle a fragment of a message."""
        self._read_control.count(len(event.data))
        super().handle_cont(event)

    def parse(self, data: bytes) -> None:
        """Parse data from the client."""
        super().data_received(data)

    def is_held(self) -> bool:
        """Return whether the client has to wait."""
        return (
            self.read_paused
            or not self.writable.is_set()
            or self.transport.is_closing()
            or (self.handshake_initiated and not self.handshake_complete)
        )

    def stop_reading(self) -> None:
        """Stop reading from the socket."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def read_on(self) -> None:
        """Read from the socket again."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def fileno(self) -> int:
        """Return the socket's file descriptor."""
        number: int = self.transport.get_extra_info("socket").fileno()
        return number

    def hang_up(self) -> None:
        """Drop the connection."""
        self.transport.abort()


class OfferedTransport(DirectTransport):
    """The object at ``scope["extensions"]["turbo.transport"]``."""

    __slots__ = ("_lost",)

    def __init__(self, protocol: WebSocketProtocol) -> None:
        super().__init__(protocol)
        self._lost: Callable[[], None] | None = None

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` when the connection is lost."""
        self._lost = callback

    def lose(self) -> None:
        """Note that the connection is lost."""
        if self._lost is not None:
            self._lost()

    def limit_frames(self) -> None:
        """Set the limit of inflated frames to that of this package's consumers."""
        if self._callback is None:
            return  # another application serves this socket
        connection = self._protocol.conn
        limit, given = largest_frame(), connection.max_message_size
        connection.max_message_size = min(limit, given or limit)
        # The parser already waits for a frame with the old limit; feed it one.
        connection.receive_data(EMPTY_PONG)
        connection.events_received()
