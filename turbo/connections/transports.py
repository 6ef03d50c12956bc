"""
The transport of a WebSocket, to which frames are written without ASGI's ``send``.

A server offers one at ``scope["extensions"]["turbo.transport"]``, or it is found for a
server that is known by its ``send``.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any, Protocol, TypeAlias

from channels.sessions import InstanceSessionWrapper

from turbo.delivery.frame import Frame
from turbo.typing import Scope, Send

__all__ = [
    "Finder",
    "Pipe",
    "SocketTransport",
    "Transport",
    "finders",
    "inmost",
    "is_same",
    "transport_of",
]


class Transport(Protocol):
    """
    The object that a server puts at ``scope["extensions"]["turbo.transport"]``.

    ``write`` takes a frame at once and returns whether there is room for another one.
    If there is none, the callback of ``on_room`` is called as soon as there is.
    """

    @property
    def send(self) -> Send:
        """The server's own ``send``."""

    def write(self, frame: Frame) -> bool:
        """Write one text frame."""

    def on_room(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` whenever the buffer has drained."""

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` when the connection is lost."""

    def abort(self) -> None:
        """Drop the connection and the content of its buffer."""


class Pipe(Protocol):
    """What a server knows of a socket: the transport of asyncio, for example."""

    def is_closing(self) -> bool:
        """Return whether the socket is closed, or will be."""

    def get_write_buffer_size(self) -> int:
        """Return how much waits in the server for the kernel to take it."""


class SocketTransport(Transport, Protocol):
    """A transport with a socket into which frames may be written without it."""

    #: What the server knows of the socket, if data go into it as they are.
    pipe: Pipe | None
    #: The descriptor of the socket as long as the pipe is not closing.
    descriptor: int
    #: Frames of this size, and longer ones, are left to :meth:`write`.
    below: int

    def write_rest(self, data: bytes) -> bool:
        """Write what the kernel did not take; return whether there is room for more."""


Finder: TypeAlias = Callable[[Send], Transport | None]

#: Each returns the transport behind a ``send`` of a server that it knows.
finders: list[Finder] = []


def transport_of(scope: Scope, send: Send) -> tuple[Transport | None, bool]:
    """Return a connection's transport, and whether the server itself has offered it."""
    offered: Transport | None = (scope.get("extensions") or {}).get("turbo.transport")
    if offered is not None:
        return offered, True
    own = inmost(send)
    found = (transport for find in finders if (transport := find(own)) is not None)
    return next(found, None), False


def inmost(send: Send) -> Send:
    """Return ``send`` without Channels' session wrappers, which act on HTTP only."""
    while type(send) is MethodType:  # a proxy may look like one
        wrapper: Any = send.__self__
        is_known = type(wrapper) is InstanceSessionWrapper
        if not is_known or send != wrapper.send:
            break
        send = wrapper.real_send
    return send


def is_same(send: Send, other: Send) -> bool:
    """Return whether nothing stands between the two, not even a proxy of one."""
    return type(send) is type(other) and send == other
