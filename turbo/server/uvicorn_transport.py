"""
The transports of uvicorn's WebSockets, to which prepared frames are written directly.

:func:`find` recognises uvicorn by its ``send``, so that it needs no configuration; this
includes Gunicorn's uvicorn workers. If an attribute that is needed here is not where it
was, messages go through ``send``, and the log says so once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextvars import Context
from functools import lru_cache
from typing import Any

from turbo.delivery.frame import Frame
from turbo.typing import Send

__all__ = ["DirectTransport", "find"]

logger = logging.getLogger("turbo.server")

#: Characters from which a frame is worth compressing.
COMPRESS_FROM = 1_024

_PROTOCOLS = "uvicorn.protocols.websockets."
#: The modules of the protocols that are known.
_MODULES = {f"{_PROTOCOLS}websockets_sansio_impl", f"{_PROTOCOLS}wsproto_impl"}


class DirectTransport:
    """The transport of one connection."""

    __slots__ = (
        "_callback",
        "_deflate",
        "_protocol",
        "_waiting",
        "below",
        "descriptor",
        "pipe",
    )

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._deflate = _without_context(protocol.conn)
        self._callback: Callable[[], None] | None = None
        self._waiting: asyncio.Task[None] | None = None
        #: What a :class:`~turbo.connections.transports.SocketTransport` has.
        self.pipe: asyncio.WriteTransport | None = None
        self.descriptor = _descriptor(protocol.transport)
        self.below = COMPRESS_FROM if self._deflate else sys.maxsize
        if self.descriptor:
            self.pipe = protocol.transport
        # The protocol is writable if nothing waits. With TLS, an empty buffer would
        # already reach a limit of 0.
        protocol.transport.set_write_buffer_limits(high=0 if self.pipe else 1, low=0)
        protocol.writable.is_set()  # or this version of uvicorn is another one

    @property
    def send(self) -> Send:
        """The server's own ``send``."""
        send: Send = self._protocol.send
        return send

    def write(self, frame: Frame) -> bool:
        """Write one text frame; return whether there is room for another."""
        if self._deflate is not None and frame.size >= COMPRESS_FROM:
            return self.write_rest(frame.wire(self._deflate, self._deflate.encode))
        return self.write_rest(frame.websocket)

    def write_rest(self, data: bytes) -> bool:
        """Write data behind those that wait; return whether there is room for more."""
        if not self._protocol.transport.is_closing():
            self._protocol.transport.write(data)
        return self._protocol.writable.is_set() or self._wait()

    def on_room(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` whenever the buffer has drained."""
        self._callback = callback

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Do nothing: uvicorn tells only the one who waits for ``receive()``."""

    def abort(self) -> None:
        """Drop the connection and the content of its buffer."""
        self._protocol.transport.abort()

    def _wait(self) -> bool:
        if self._waiting is None:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_task(self._until_writable(), context=Context())
        return False

    async def _until_writable(self) -> None:
        await self._protocol.writable.wait()  # also ends when the connection is lost
        self._waiting = None
        if self._callback is not None:
            self._callback()


class _Deflate:
    """
    The compression of frames for all clients that negotiated the same window.

    Each frame is compressed by itself, so that its bytes are the same for all of them.
    """

    def __init__(self, extensions: Sequence[Any]) -> None:
        self._extensions = extensions

    def encode(self, text: str) -> bytes:
        """Return one compressed frame."""
        from websockets.frames import Frame as WireFrame
        from websockets.frames import Opcode

        whole = WireFrame(Opcode.TEXT, text.encode(errors="replace"))
        return bytes(whole.serialize(mask=False, extensions=self._extensions))


def _without_context(connection: Any) -> _Deflate | None:
    """
    Let a connection compress each frame by itself, as either side may do at any time.

    Then frames may be compressed elsewhere, and none needs what went before it.
    """
    if not (extensions := getattr(connection, "extensions", ())):
        return None
    for extension in extensions:
        extension.local_no_context_takeover = True
        vars(extension).pop("encoder", None)
    return _deflate(tuple(item.local_max_window_bits for item in extensions))


@lru_cache
def _deflate(windows: tuple[int, ...]) -> _Deflate:
    from websockets.extensions.permessage_deflate import PerMessageDeflate

    return _Deflate(
        [PerMessageDeflate(True, True, 15, bits, {"memLevel": 5}) for bits in windows]
    )


def find(send: Send) -> DirectTransport | None:
    """Return the transport of one of uvicorn's connections by its ``send``."""
    protocol: Any = getattr(send, "__self__", None)
    kind = type(protocol)
    if kind.__module__ not in _MODULES or getattr(send, "__func__", 0) is not kind.send:
        return None
    try:
        return DirectTransport(protocol)
    except Exception as error:
        _say_unknown(f"{error!r}")
        return None


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
