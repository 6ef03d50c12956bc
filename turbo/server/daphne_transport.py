"""The transport of one WebSocket under Daphne, as a push producer of Twisted."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any, Self

from turbo.delivery.frame import Frame
from turbo.server.read_control import ReadControl, largest_frame
from turbo.typing import Message, Receive, Send

__all__ = ["DaphneTransport"]

#: Reading stops at this number of frames, or bytes, that wait for the application.
UNTAKEN_FRAMES = 32
UNTAKEN_BYTES = 65_536


class DaphneTransport:
    """The object at ``scope["extensions"]["turbo.transport"]``: a push producer."""

    __slots__ = (
        "_bytes",
        "_callback",
        "_frames",
        "_lost",
        "_open",
        "_protocol",
        "_receive",
        "_room",
        "_send",
        "_transport",
        "below",
        "descriptor",
        "has_room",
        "read_control",
    )

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._open = protocol.STATE_OPEN
        self._transport = protocol.transport
        # Checks the class, because TLS forwards attributes to the underlying socket.
        is_socket = hasattr(type(self._transport), "writeSomeData") and os.name != "nt"
        #: What a :class:`~turbo.connections.transports.SocketTransport` has.
        self.descriptor: int = self._transport.fileno() if is_socket else 0
        self.below = sys.maxsize
        self._callback: Callable[[], None] | None = None
        self._lost: Callable[[], None] | None = None
        self._room: asyncio.Event | None = None
        self._frames = self._bytes = 0  # that wait for the application
        self.read_control = ReadControl(self)
        self.has_room = True

    # --- What comes in

    def carry(self, receive: Receive, send: Send) -> None:
        """Set Daphne's own ``receive`` and ``send``, whose messages go through here."""
        self._receive, self._send = receive, send

    async def receive(self) -> Message:
        """Return the next message for the application."""
        message = await self._receive()
        if message["type"] == "websocket.receive":
            self._frames -= 1
            self._bytes = self._bytes if self._frames else 0
            self.read_control.go_on()
        return message

    def put(self, size: int) -> None:
        """Count a frame that waits for the application."""
        self._frames += 1
        self._bytes += size

    def parse(self, data: bytes) -> None:
        """Parse data from the client."""
        self._protocol.parse(data)

    def is_open(self) -> bool:
        """Return whether no side has begun to close."""
        return bool(self._protocol.state == self._open)

    def is_held(self) -> bool:
        """Return whether the client has to wait."""
        if not self.has_room or self._protocol.state == self._protocol.STATE_CONNECTING:
            return True
        are_many = self._frames >= UNTAKEN_FRAMES or self._bytes >= UNTAKEN_BYTES
        return are_many and self.is_open()

    def stop_reading(self) -> None:
        """Stop reading from the socket."""
        self._transport.pauseProducing()

    def read_on(self) -> None:
        """Read from the socket again."""
        self._transport.resumeProducing()

    def fileno(self) -> int:
        """Return the socket's file descriptor."""
        number: int = self._transport.fileno()
        return number

    def hang_up(self) -> None:
        """Drop the connection."""
        self.abort()

    # --- What goes out

    async def send(self, message: Message) -> None:
        """Send a message of the application when there is room."""
        while not self.has_room:
            if self._room is None:
                self._room = asyncio.Event()
            await self._room.wait()
        await self._send(message)

    def write(self, frame: Frame) -> bool:
        """Write one text frame; return whether there is room for another."""
        if self.is_open():
            self._transport.write(frame.websocket)
        return self.has_room

    # Twisted would first watch the socket and write in the loop's next iteration, which
    # costs three times as much. So frames go into the socket while nothing waits, and
    # Twisted still writes data that the kernel does not take, and data for TLS.

    @property
    def pipe(self) -> Self | None:
        """What the server knows of the socket, if data go into it as they are."""
        return self if self.descriptor else None

    def is_closing(self) -> bool:
        """Return whether the socket is closed, or a close frame was sent."""
        return not self._transport.connected or self._protocol.state != self._open

    def get_write_buffer_size(self) -> int:
        """Return how much Twisted keeps for the kernel to take it."""
        transport = self._transport
        return len(transport.dataBuffer) + len(transport._tempDataBuffer)

    def write_rest(self, data: bytes) -> bool:
        """Write what the kernel did not take; return whether there is room for more."""
        self._transport.write(data)
        return self.has_room

    def on_room(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` whenever the buffer has drained."""
        self._callback = callback
        # The request for the upgrade is still registered. The registration and a
        # reference cycle with its channel keep it alive: three useless kilobytes.
        channel = getattr(self._transport, "producer", None)
        getattr(channel, "requests", []).clear()
        self._protocol.unregisterProducer()
        self._protocol.registerProducer(self, True)
        for limit in ("maxFramePayloadSize", "maxMessagePayloadSize"):
            given = getattr(self._protocol, limit)
            setattr(self._protocol, limit, min(largest_frame(), given or sys.maxsize))

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` when the connection is lost."""
        self._lost = callback

    def abort(self) -> None:
        """Drop the connection and the content of its buffer."""
        self._protocol.dropConnection(abort=True)

    def pauseProducing(self) -> None:
        """Note that the buffer is full; Twisted calls this."""
        self.has_room = False
        self.read_control.go_on()

    def resumeProducing(self) -> None:
        """Note that the buffer is empty; Twisted calls this."""
        self._make_room()
        if self._protocol.autoPingTimeoutCall:
            # The client reads, so it is alive; its pong may have come unread.
            self._protocol._cancelAutoPingTimeoutCall()
        if not self.is_open():
            self._protocol.unregisterProducer()  # otherwise the transport never closes
        elif self._callback is not None:
            self._callback()
        self.read_control.go_on()

    def stopProducing(self) -> None:
        """Do nothing: :meth:`lose` is called when the protocol ends."""

    def lose(self) -> None:
        """Note that the connection is lost."""
        self.read_control.close()
        self._callback = None
        self._make_room()
        if self._lost is not None:
            self._lost()

    def _make_room(self) -> None:
        self.has_room = True
        if self._room is not None:
            self._room.set()
            self._room = None
