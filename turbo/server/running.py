"""
A server for an application, on a socket that is open already.

Daphne and uvicorn get the same socket, so that both know the same kinds of addresses.
"""

from __future__ import annotations

import importlib
import signal
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turbo.exceptions import ConfigurationError
from turbo.server.daphne import with_transport
from turbo.server.live import LiveApplication

__all__ = ["SERVERS", "Address", "best_server", "listening"]

#: Connections that wait until they are accepted, as after a restart.
BACKLOG = 2_048
#: Seconds for a client to send a complete request, or to answer a ping.
REQUEST_TIMEOUT, PING_TIMEOUT = 5, 30
#: Daphne's value for no timeout.
NO_TIMEOUT = -1
#: Seconds after which uvicorn no longer waits for clients that do not leave.
STOP_TIMEOUT = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A port, a Unix socket or an inherited descriptor to listen on."""

    bind: str
    port: int
    uds: str | None = None
    fd: int | None = None
    reuse_port: bool = False

    def __str__(self) -> str:
        if self.fd is not None:
            return f"descriptor {self.fd}"
        if self.uds is not None:
            return self.uds
        host = f"[{self.bind}]" if ":" in self.bind else self.bind
        return f"{host}:{self.port}"

    def open(self) -> socket.socket:
        """Return a socket that is bound to the address."""
        if self.fd is not None:
            return socket.socket(fileno=self.fd)
        if self.uds is not None:
            return _unix_socket(Path(self.uds))
        return socket.create_server(
            (self.bind, self.port),
            family=socket.AF_INET6 if ":" in self.bind else socket.AF_INET,
            reuse_port=self.reuse_port,
        )


@contextmanager
def listening(address: Address) -> Iterator[socket.socket]:
    """Listen on an address until the end of the block."""
    try:
        made = address.open()
        made.listen(BACKLOG)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"Cannot listen at {address}: {error}") from error
    made.setblocking(False)
    try:
        yield made
    finally:
        made.close()
        if address.uds is not None and address.fd is None:
            Path(address.uds).unlink(missing_ok=True)


def _unix_socket(path: Path) -> socket.socket:
    """Return a socket at a path, in place of one that a killed server has left."""
    made = socket.socket(socket.AF_UNIX)
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode) and not _accepts(path):
            path.unlink()
    try:
        made.bind(str(path))
    except OSError:
        made.close()
        raise
    return made


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def best_server() -> str:
    """Return ``"uvicorn"`` if it is installed with what it needs, or ``"daphne"``."""
    try:
        _uvicorn()
    except ConfigurationError:
        return "daphne"
    return "uvicorn"


def _uvicorn() -> tuple[Any, Any]:
    try:
        protocol = importlib.import_module("turbo.server.uvicorn")
    except ImportError as error:
        raise ConfigurationError(
            f"uvicorn cannot be imported ({error}). Install "
            f'"django-turbo-streams[uvicorn]".'
        ) from error
    return importlib.import_module("uvicorn"), protocol.WebSocketProtocol


def _run_daphne(
    application: LiveApplication, listener: socket.socket, *, proxy_headers: bool
) -> None:
    # The import creates an event loop and installs Twisted's reactor.
    server_class = with_transport(importlib.import_module("daphne.server").Server)
    reactor: Any = importlib.import_module("twisted.internet.reactor")

    def adopt() -> None:
        place = listener.fileno(), listener.family
        reactor.adoptStreamPort(*place, server.http_factory)

    header = "X-Forwarded-{}".format if proxy_headers else lambda name: None
    server = server_class(
        application,
        endpoints=["the listener"],  # it refuses to have none
        ready_callable=adopt,
        ping_timeout=PING_TIMEOUT,
        proxy_forwarded_address_header=header("For"),
        proxy_forwarded_port_header=header("Port"),
        proxy_forwarded_proto_header=header("Proto"),
        server_name="turbo-live",
        websocket_connect_timeout=REQUEST_TIMEOUT,
        websocket_timeout=NO_TIMEOUT,
    )
    server.endpoints = []
    server.run()


def _run_uvicorn(
    application: LiveApplication, listener: socket.socket, *, proxy_headers: bool
) -> None:
    uvicorn, protocol = _uvicorn()

    class Server(uvicorn.Server):  # type: ignore[misc,name-defined]
        async def shutdown(self, sockets: Any = None) -> None:
            application.end()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        application,
        access_log=False,
        forwarded_allow_ips="*",
        interface="asgi3",
        log_config=None,  # that of Django holds
        proxy_headers=proxy_headers,
        server_header=False,
        timeout_graceful_shutdown=STOP_TIMEOUT,
        ws=protocol,
    )
    # When it has ended, uvicorn sends the signal again that has ended it.
    signal.signal(signal.SIGTERM, lambda *args: sys.exit(0))
    Server(config).run(sockets=[listener])


#: The functions that run a server until the process is told to end.
SERVERS: dict[str, Callable[..., None]] = {
    "daphne": _run_daphne,
    "uvicorn": _run_uvicorn,
}
