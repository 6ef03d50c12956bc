"""
Daphne, with ``turbo.transport`` among the extensions of a WebSocket's scope.

Daphne's own ``send`` takes whatever it is given and keeps it in memory for a client
that does not read. Here the transport says when its buffer is full, as any Twisted
transport does to a registered producer.

:func:`install` puts it in place for the ``daphne`` command and for ``runserver``, when
the app is ready. Who starts a server class of their own says so themselves::

    server = with_transport(MyServer)(application, endpoints=endpoints)
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from django.apps import apps

from turbo.frame import Frame
from turbo.typing import Scope

__all__ = ["DaphneTransport", "install", "with_transport"]


def install() -> None:
    """Offer the extension where this process is ``daphne`` or ``runserver``."""
    if (cli := sys.modules.get("daphne.cli")) is not None:
        command_line = cli.CommandLineInterface
        command_line.server_class = with_transport(command_line.server_class)
    if apps.is_installed("daphne"):
        command = import_module("daphne.management.commands.runserver").Command
        command.server_cls = with_transport(command.server_cls)


def with_transport(server_class: type[Any]) -> type[Any]:
    """Return a subclass of a Daphne ``Server`` that offers the extension."""
    if issubclass(server_class, _OffersTransport):
        return server_class
    return type(server_class.__name__, (_OffersTransport, server_class), {})


class _OffersTransport:
    """What :func:`with_transport` adds."""

    def create_application(self, protocol: Any, scope: Scope) -> Any:
        """Make the application, with the extension in its scope."""
        if scope["type"] == "websocket":
            # Daphne itself says so of HTTP only.
            scope.setdefault("scheme", _scheme(protocol))
            extensions = scope.setdefault("extensions", {})
            extensions["turbo.transport"] = DaphneTransport(protocol)
        return super().create_application(protocol, scope)  # type: ignore[misc]


def _scheme(protocol: Any) -> str:
    """Return ``wss`` where the browser speaks TLS, to Daphne or to its proxy."""
    scheme = getattr(protocol, "client_scheme", None)  # with --proxy-headers
    if scheme is None:
        tls = import_module("twisted.internet.interfaces").ISSLTransport
        scheme = "https" if tls.providedBy(protocol.transport) else "http"
    return "wss" if scheme in ("https", "wss") else "ws"


class DaphneTransport:
    """What is found at ``scope["extensions"]["turbo.transport"]``: a push producer."""

    __slots__ = ("_callback", "_has_room", "_protocol", "_transport")

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        self._callback: Callable[[], None] | None = None
        self._has_room = True

    def write(self, frame: Frame) -> bool:
        """Write one text frame; return whether there is room for another."""
        if self._protocol.state == self._protocol.STATE_OPEN:
            self._send(frame.websocket)
        return self._has_room

    def _send(self, data: bytes) -> None:
        """
        Write at once if nothing waits before.

        Twisted alone would first watch the socket, and write in the loop's next turn;
        that costs three times as much. It does so with what the kernel does not take,
        over TLS, and with a socket that is broken, which it then finds out.
        """
        transport = self._transport
        if getattr(transport, "_tempDataBuffer", True) or transport.dataBuffer:
            transport.write(data)
            return
        sent = transport.writeSomeData(data)
        if not isinstance(sent, int) or sent < 0:
            transport.write(data)
        elif sent < len(data):
            transport.write(data[sent:])

    def on_room(self, callback: Callable[[], None]) -> None:
        """Call back whenever the buffer has drained."""
        self._callback = callback
        # The request that asked for the upgrade is still registered, and kept alive by
        # that and by a circle with its channel: three kilobytes that nobody needs.
        channel = getattr(self._transport, "producer", None)
        getattr(channel, "requests", []).clear()
        self._protocol.unregisterProducer()
        self._protocol.registerProducer(self, True)

    def abort(self) -> None:
        """Drop the connection with whatever its buffer holds."""
        self._protocol.dropConnection(abort=True)

    def pauseProducing(self) -> None:
        """Twisted says that the buffer is full."""
        self._has_room = False

    def resumeProducing(self) -> None:
        """Twisted says that the buffer is empty."""
        self._has_room = True
        if self._protocol.state != self._protocol.STATE_OPEN:
            self._protocol.unregisterProducer()  # or the transport would never close
        elif self._callback is not None:
            self._callback()

    def stopProducing(self) -> None:
        """Twisted says that the connection is lost."""
        self._callback = None
