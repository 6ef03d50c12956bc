"""
The transports of uvicorn's WebSockets, to which prepared frames are written directly.

:func:`find` recognises uvicorn by its ``send``, so that it needs no configuration; this
includes Gunicorn's uvicorn workers. If an attribute that is needed here is not where it
was, messages go through ``send``, and the log says so once. They also do with wsproto,
which does not tell how it compresses.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextvars import Context
from functools import lru_cache
from types import MethodType
from typing import Any

from turbo.delivery.frame import Frame
from turbo.typing import Send

__all__ = ["DirectTransport", "compressed", "find"]

logger = logging.getLogger("turbo.server")

#: Characters from which a frame is worth compressing.
COMPRESS_FROM = 1_024

#: The module of the protocol that is known, and its name.
_KNOWN = (
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "WebSocketsSansIOProtocol",
)
#: The smallest window that zlib compresses for.
SMALLEST_WINDOW = 9


class DirectTransport:
    """The transport of one connection."""

    __slots__ = (
        "_callback",
        "_protocol",
        "_waiting",
        "_windows",
        "_writable",
        "below",
        "descriptor",
        "pipe",
    )

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._writable: asyncio.Event = protocol.writable
        self._windows = _compressed_apart(protocol.conn)
        self._callback: Callable[[], None] | None = None
        self._waiting: asyncio.Task[None] | None = None
        #: What a :class:`~turbo.connections.transports.SocketTransport` has.
        self.pipe: asyncio.WriteTransport | None = None
        self.descriptor = _descriptor(protocol.transport)
        self.below = COMPRESS_FROM if self._windows else sys.maxsize
        if self.descriptor:
            self.pipe = protocol.transport
        # The protocol is writable if nothing waits. With TLS, an empty buffer would
        # already reach a limit of 0.
        protocol.transport.set_write_buffer_limits(high=0 if self.pipe else 1, low=0)

    @property
    def send(self) -> Send:
        """The server's own ``send``."""
        send: Send = self._protocol.send
        return send

    def write(self, frame: Frame) -> bool:
        """Write one text frame; return whether there is room for another."""
        if not self._windows or frame.size < COMPRESS_FROM:
            return self.write_rest(frame.websocket)
        key = ("websocket", *self._windows)
        return self.write_rest(frame.wire(key, self._compressed))

    def write_rest(self, data: bytes) -> bool:
        """Write data behind those that wait; return whether there is room for more."""
        transport = self._protocol.transport
        if transport.is_closing():
            return True  # nothing is kept for a client that has gone
        transport.write(data)
        if not transport.get_write_buffer_size():
            return True
        # If an answer to HTTP has filled the buffer, only its protocol was told.
        self._writable.clear()
        return self._wait()

    def on_room(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` whenever the buffer has drained."""
        self._callback = callback

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Do nothing: uvicorn tells only the one who waits for ``receive()``."""

    def abort(self) -> None:
        """Drop the connection and the content of its buffer."""
        self._protocol.transport.abort()

    def _compressed(self, text: str) -> bytes:
        return compressed(text, self._windows)

    def _wait(self) -> bool:
        if self._waiting is None:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_task(self._until_writable(), context=Context())
        return False

    async def _until_writable(self) -> None:
        await self._writable.wait()  # also ends when the connection is lost
        self._waiting = None
        if self._callback is not None:
            self._callback()


def _compressed_apart(connection: Any) -> tuple[int, ...]:
    """
    Let a connection compress each frame by itself, as either side may do at any time.

    Then frames may be compressed elsewhere, and none needs what went before it. Return
    the windows to compress for, or nothing if frames are not to be compressed.
    """
    windows = tuple(item.local_max_window_bits for item in connection.extensions)
    if not windows or min(windows) < SMALLEST_WINDOW:
        return ()
    for extension in connection.extensions:
        extension.local_no_context_takeover = True
        vars(extension).pop("encoder", None)
    return windows


def compressed(text: str, windows: Sequence[int]) -> bytes:
    """Return one frame, as all clients can read it that negotiated these windows."""
    from websockets.extensions.permessage_deflate import PerMessageDeflate
    from websockets.frames import Frame as WireFrame
    from websockets.frames import Opcode

    # Made anew, because each loop of the process may be compressing now.
    extensions = [
        PerMessageDeflate(True, True, 15, bits, {"memLevel": 5}) for bits in windows
    ]
    whole = WireFrame(Opcode.TEXT, text.encode(errors="replace"))
    return bytes(whole.serialize(mask=False, extensions=extensions))


def find(send: Send) -> DirectTransport | None:
    """Return the transport of one of uvicorn's connections by its ``send``."""
    if type(send) is not MethodType:  # a proxy may look like one
        return None
    protocol: Any = send.__self__
    kind = type(protocol)
    if (kind.__module__, kind.__qualname__) != _KNOWN or not _is_own(send, kind):
        return None
    try:
        if protocol.transport.is_closing():
            return None
        if "pause_writing" not in vars(kind):  # as before uvicorn 0.52.1
            raise AttributeError(name="pause_writing")
        return DirectTransport(protocol)
    except Exception as error:
        _say_unknown(f"{type(error).__name__} {getattr(error, 'name', '')}".strip())
        return None


def _is_own(send: MethodType, kind: type) -> bool:
    """Return whether a method is the ``send`` that the module of its class defines."""
    own, module = vars(kind).get("send"), sys.modules.get(kind.__module__)
    if module is None or send.__func__ is not own:
        return False
    return getattr(own, "__globals__", None) is vars(module)


@lru_cache
def _say_unknown(problem: str) -> None:
    logger.warning(
        "This version of uvicorn is not known to turbo, so frames take the slower way "
        "through ASGI's send: %s",
        problem,
    )


def _descriptor(transport: Any) -> int:
    """Return the descriptor of a socket that data go into as they are, or 0."""
    if os.name == "nt" or transport.get_extra_info("sslcontext") is not None:
        return 0
    socket = transport.get_extra_info("socket")
    return 0 if socket is None else int(socket.fileno())
