"""
TCP connections between simulated processes and servers.

Each direction of a connection keeps its order and loses nothing while the connection
lives, as TCP does. While the way between two hosts is blocked, what was sent waits and
is sent again after the way is free, even if its sender has closed the connection
meanwhile and has forgotten it: a request may arrive long after the client gave up.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from tests.support.simulation.clock import Clock, SimulatedLoop

__all__ = ["Connection", "Network", "Server"]

#: Seconds from one host to another.
LATENCY = 0.000_5
#: What a side sends besides bytes.
SYN, ACK, FIN, RST = "SYN", "ACK", "FIN", "RST"


class Server(Protocol):
    """A server that can be reached through the network."""

    name: str
    is_up: bool

    def accept(self, connection: Connection) -> Callable[[bytes], None]:
        """Serve a connection; return what takes its bytes."""

    def leave(self, connection: Connection) -> None:
        """Note that the client has ended the connection."""


class Network:
    """All connections, and which ways are blocked."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        #: Addresses, and the server that is reached by each.
        self.addresses: dict[str, Server] = {}
        self._blocked: set[tuple[str, str]] = set()
        self._connections: dict[Connection, None] = {}

    async def connect(
        self, loop: SimulatedLoop, process: Any, address: str, protocol: Any
    ) -> asyncio.Transport:
        """Open a connection; this waits as long as nobody answers."""
        connection = Connection(self, loop, process.name, self.addresses[address])
        self._connections[connection] = None
        return await connection.open(protocol)

    def block(self, source: str, target: str) -> None:
        """Lose all packets from one host to another."""
        self._blocked.add((source, target))

    def unblock(self, source: str, target: str, *, resend: float) -> None:
        """Let packets pass again; what was lost is sent again after ``resend``."""
        if (source, target) not in self._blocked:
            return
        self._blocked.discard((source, target))
        for connection in self._connections:
            for pipe in (connection.out, connection.back):
                if (pipe.source, pipe.target) == (source, target):
                    pipe.resume(resend)

    def is_blocked(self, source: str, target: str) -> bool:
        """Return whether packets are lost."""
        return (source, target) in self._blocked

    def blocked(self) -> list[tuple[str, str]]:
        """Return the ways that are blocked."""
        return sorted(self._blocked)

    def of(self, name: str) -> list[Connection]:
        """Return the open connections of a process or server."""
        return [c for c in self._connections if name in (c.client, c.server.name)]

    def forget(self, connection: Connection) -> None:
        """Drop a connection that both sides have ended."""
        self._connections.pop(connection, None)


class Pipe:
    """One direction of a connection."""

    def __init__(
        self, network: Network, source: str, target: str, take: Callable[[Any], None]
    ) -> None:
        self.source, self.target = source, target
        self._network = network
        self._take = take
        self._waiting: deque[Any] = deque()
        self._arrives = 0.0  # when the last packet arrives
        self._lost = False

    def send(self, packet: Any) -> None:
        """Send bytes, or the end of the connection."""
        if self._lost:
            return
        if self._waiting or self._network.is_blocked(self.source, self.target):
            self._waiting.append(packet)
        else:
            self._pass(packet, LATENCY)

    def resume(self, seconds: float) -> None:
        """Send again what was lost while the way was blocked."""
        self._network.clock.later(seconds, self._resend)

    def lose(self) -> None:
        """Lose everything from now on, without telling either side."""
        self._lost = True
        self._waiting.clear()

    def _resend(self) -> None:
        if self._network.is_blocked(self.source, self.target):
            return
        while self._waiting:
            self._pass(self._waiting.popleft(), LATENCY)

    def _pass(self, packet: Any, seconds: float) -> None:
        clock = self._network.clock
        self._arrives = max(self._arrives, clock.now + seconds)
        clock.later(self._arrives - clock.now, self._arrive, packet)

    def _arrive(self, packet: Any) -> None:
        if not self._lost:
            self._take(packet)


class Connection:
    """A connection, with the client's half in a loop and the server's half in none."""

    def __init__(
        self, network: Network, loop: SimulatedLoop, client: str, server: Server
    ) -> None:
        self.client, self.server = client, server
        self.network = network
        self._loop = loop
        self.out = Pipe(network, client, server.name, self._at_server)
        self.back = Pipe(network, server.name, client, self._at_client)
        self._opened: asyncio.Future[None] = loop.create_future()
        self.transport: Transport | None = None
        self._serve: Callable[[bytes], None] | None = None

    async def open(self, protocol: Any) -> asyncio.Transport:
        """Return the client's transport when the server has accepted."""
        self.out.send(SYN)
        try:
            await self._opened
        except BaseException:
            self.out.send(FIN)
            raise
        self.transport = Transport(self, protocol)
        protocol.connection_made(self.transport)
        return self.transport

    def reply(self, data: bytes) -> None:
        """Send bytes to the client."""
        if self._serve is not None:
            self.back.send(data)

    def reset(self) -> None:
        """End the connection on the server's side."""
        if self._serve is not None:
            self._serve = None
            self.server.leave(self)
            self.back.send(RST)

    def lose(self) -> None:
        """Lose all packets, as if a router has forgotten the connection."""
        self.out.lose()
        self.back.lose()
        if self._serve is not None:
            self._serve = None
            self.server.leave(self)

    def _at_server(self, packet: Any) -> None:
        if packet == SYN:
            if self.server.is_up:
                self._serve = self.server.accept(self)
                self.back.send(ACK)
            else:
                self.back.send(RST)
        elif packet in (FIN, RST):
            if self._serve is not None:
                self._serve = None
                self.server.leave(self)
            self.network.forget(self)
        elif self._serve is not None:
            self._serve(packet)
        else:
            self.back.send(RST)

    def _at_client(self, packet: Any) -> None:
        if self._loop.held is not None:
            # The kernel takes it, and the process finds it when it goes on.
            self._loop.call_soon(self._at_client, packet)
            return
        if packet == ACK:
            if not self._opened.done():
                self._opened.set_result(None)
        elif packet in (FIN, RST):
            if not self._opened.done():
                self._opened.set_exception(ConnectionRefusedError("refused"))
            elif self.transport is not None:
                self.transport.lost()
        elif self.transport is not None:
            self.transport.received(packet)


class Transport(asyncio.Transport):
    """The client's half of a connection."""

    def __init__(self, connection: Connection, protocol: Any) -> None:
        super().__init__()
        self._connection = connection
        self._protocol = protocol
        self._closing = False
        self._paused: list[bytes] | None = None

    def write(self, data: Any) -> None:
        if not self._closing:
            self._connection.out.send(bytes(data))

    def received(self, data: bytes) -> None:
        """Take bytes of the server."""
        if self._closing:
            return
        if self._paused is not None:
            self._paused.append(data)
            return
        with self._connection._loop.running():
            self._protocol.data_received(data)

    def lost(self) -> None:
        """Note that the server has ended the connection."""
        if not self._closing:
            self._closing = True
            self._end(ConnectionResetError("reset by peer"))

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._connection.out.send(FIN)
            self._end(None)

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        if self._paused is None:
            self._paused = []

    def resume_reading(self) -> None:
        paused, self._paused = self._paused or [], None
        for data in paused:
            self.received(data)

    def get_write_buffer_size(self) -> int:
        return 0

    def set_write_buffer_limits(
        self, high: int | None = None, low: int | None = None
    ) -> None:
        """Do nothing: the kernel takes everything."""

    def can_write_eof(self) -> bool:
        return False

    def _end(self, error: Exception | None) -> None:
        self._connection._loop.call_soon(self._protocol.connection_lost, error)
