"""
Daphne with the extension ``turbo.transport`` in the scope of WebSockets.

Daphne's own ``send`` keeps all messages in memory for a client that does not read, and
its ``receive`` has an unbounded queue. Here the transport reports when its buffer is
full, as every Twisted transport does to a registered producer, and
:class:`~turbo.server.read_control.ReadControl` decides when the socket is read.

When the app is ready, :func:`install` adds the extension to the ``daphne`` command and
to ``runserver``. If you start a server class of your own, add it yourself::

    server = with_transport(MyServer)(application, endpoints=endpoints)
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any

from django.apps import apps

from turbo.connections.inbox import NO_CODE
from turbo.delivery.protocol import CloseCode
from turbo.server.daphne_transport import DaphneTransport
from turbo.typing import ASGIApplication, Receive, Scope, Send

__all__ = ["DaphneTransport", "install", "with_transport"]

#: Seconds for a client to read the last frames.
GRACE = 2.0
#: The close codes that the consumers of this package send.
CODES = frozenset(CloseCode)
#: Seconds for all applications to end when the server does.
LAST = 10.0
#: Seconds for their last frames to be written.
WRITING = 0.1


def install() -> None:
    """Add the extension if this process is ``daphne`` or ``runserver``."""
    if (cli := sys.modules.get("daphne.cli")) is not None:
        command_line = cli.CommandLineInterface
        command_line.server_class = with_transport(command_line.server_class)
    if apps.is_installed("daphne"):
        command = import_module("daphne.management.commands.runserver").Command
        command.server_cls = with_transport(command.server_cls)


def with_transport(server_class: type[Any]) -> type[Any]:
    """Return a subclass of a Daphne ``Server`` with the extension."""
    if issubclass(server_class, _OffersTransport):
        return server_class
    return type(server_class.__name__, (_OffersTransport, server_class), {})


class _OffersTransport:
    """The mixin of :func:`with_transport`."""

    connections: dict[Any, dict[str, Any]]
    websocket_connect_timeout: float

    @property
    def application(self) -> ASGIApplication:
        """The project's application; messages of WebSockets go through a transport."""
        return self._serve

    @application.setter
    def application(self, application: ASGIApplication) -> None:
        self._application = application

    def _serve(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "websocket":
            transport: DaphneTransport = scope["extensions"]["turbo.transport"]
            transport.carry(receive, send)
            receive, send = transport.receive, transport.send
        return self._application(scope, receive, send)

    def create_application(self, protocol: Any, scope: Scope) -> Any:
        """Create the application, with the extension in its scope."""
        if scope["type"] == "websocket":
            # Daphne itself sets it for HTTP only.
            scope.setdefault("scheme", _scheme(protocol))
            protocol.__class__ = _controlled(type(protocol))  # type: ignore[arg-type]
            protocol.turbo = DaphneTransport(protocol)
            extensions = scope.setdefault("extensions", {})
            extensions["turbo.transport"] = protocol.turbo
        return super().create_application(protocol, scope)  # type: ignore[misc]

    def timeout_checker(self) -> None:
        """Drop clients that have not sent a complete request; check the others."""
        timeout, now = self.websocket_connect_timeout, time.time()
        for protocol, details in list(self.connections.items()) if timeout else ():
            # Twisted sets content when the request has all its headers.
            is_half = getattr(protocol, "content", protocol) is None
            channel = getattr(protocol, "channel", None)  # None if it has left
            if is_half and channel and now - details["connected"] > timeout:
                channel.transport.abortConnection()
        super().timeout_checker()  # type: ignore[misc]

    def kill_all_applications(self) -> Any:
        """Cancel all applications, and wait until each has said goodbye."""
        # Daphne itself waits no longer when the first one has been cancelled, and
        # fails for those that have ended.
        instances = [d.get("application_instance") for d in self.connections.values()]
        tasks = [task for task in instances if task is not None and not task.done()]
        for task in tasks:
            task.cancel()
        ended = asyncio.ensure_future(_until_done(tasks))
        return import_module("twisted.internet.defer").Deferred.fromFuture(ended)


async def _until_done(tasks: Sequence[asyncio.Task[None]]) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=LAST)
        await asyncio.sleep(WRITING)  # Twisted drops what has not been written


@lru_cache
def _controlled(protocol_class: type[Any]) -> type[Any]:
    """Return a subclass of Daphne's protocol with controlled reading."""
    return type(protocol_class.__name__, (_Controlled, protocol_class), {})


class _Controlled:
    """The mixin for Daphne's WebSocket protocol."""

    turbo: DaphneTransport
    state: int
    transport: Any

    def dataReceived(self, data: bytes) -> None:
        """Take data from the client, and parse as much as is allowed now."""
        self.turbo.read_control.take(data)

    def parse(self, data: bytes) -> None:
        """Parse data from the client."""
        super().dataReceived(data)  # type: ignore[misc]

    def onOpen(self) -> None:
        """Parse data that came before the acceptance."""
        super().onOpen()  # type: ignore[misc]
        self.turbo.read_control.go_on()

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Put a frame into the queue, unless a close frame has been sent."""
        if self.turbo.is_open():
            self.turbo.put(len(payload))
            super().onMessage(payload, isBinary)  # type: ignore[misc]

    def onMessageFrameBegin(self, length: int) -> None:
        """Handle the begin of a frame, which may be a fragment of a message."""
        if not self.current_frame.fin:  # type: ignore[attr-defined]
            self.turbo.read_control.count(length)
        super().onMessageFrameBegin(length)  # type: ignore[misc]

    def onPing(self, payload: bytes) -> None:
        """Answer a ping."""
        self.turbo.read_control.count()
        super().onPing(payload)  # type: ignore[misc]

    def onPong(self, payload: bytes) -> None:
        """Handle a pong."""
        self.turbo.read_control.count()
        super().onPong(payload)  # type: ignore[misc]

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Tell the application, which needs a code that is not ``None``."""
        super().onClose(  # type: ignore[misc]
            wasClean, NO_CODE if code is None else code, reason
        )
        self.turbo.lose()

    def serverClose(self, code: int | None = None) -> None:
        """Close with a code of this package; Autobahn itself refuses 1012."""
        if code in CODES:
            self.sendCloseFrame(code)
        else:
            super().serverClose(code)  # type: ignore[misc]

    def sendCloseFrame(self, *args: Any, **kwargs: Any) -> None:
        """Send a close frame, and read until the client does the same."""
        super().sendCloseFrame(*args, **kwargs)  # type: ignore[misc]
        self.turbo.read_control.go_on()

    def dropConnection(self, abort: bool = False) -> None:
        """Close the socket; abort it after a short time if the client does not read."""
        has_room = self.turbo.has_room
        super().dropConnection(abort)  # type: ignore[misc]
        if not has_room and not abort:
            loop = asyncio.get_running_loop()
            loop.call_later(GRACE, self.transport.abortConnection)


def _scheme(protocol: Any) -> str:
    """Return ``wss`` if the browser uses TLS, to Daphne or to its proxy."""
    scheme = getattr(protocol, "client_scheme", None)  # with --proxy-headers
    if scheme is None:
        tls = import_module("twisted.internet.interfaces").ISSLTransport
        scheme = "https" if tls.providedBy(protocol.transport) else "http"
    return "wss" if scheme in ("https", "wss") else "ws"
