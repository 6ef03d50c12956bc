"""
Many WebSockets in this process, whose data a test or a benchmark can look at.

It uses raw sockets and ``epoll``, without an event loop. Frames are not parsed, but
skipped by their length. A delivery takes five to six microseconds, including the
kernel, which is more than a fast server needs: what a server can do is measured with
:class:`benchmarks.load.Load`.
"""

from __future__ import annotations

import base64
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

__all__ = ["Crowd", "Handshake", "masked", "request"]

#: Shorter payloads are answers and pings; messages are longer.
MESSAGE_BYTES = 200
PING, PONG, CLOSE = 0x9, 0xA, 0x8


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """How a client of one system connects and subscribes."""

    path: str
    headers: tuple[str, ...] = ()
    #: Frames to send once the connection is open, each with a part of its answer, or
    #: with an empty string if there is no answer.
    frames: tuple[tuple[str, str], ...] = ()
    #: Pings that are answered in text, with the answers (socket.io).
    answers: tuple[tuple[bytes, str], ...] = ()


@dataclass(slots=True)
class _Client:
    socket: socket.socket
    rest: bytes = b""
    messages: int = 0


@dataclass(slots=True)
class Crowd:
    """Many subscribed sockets."""

    port: int
    handshake: Handshake
    received: int = 0
    #: Called with the number of messages in each read.
    on_messages: Callable[[int], None] | None = None
    #: Called with the data of each read.
    on_data: Callable[[bytes], None] | None = None
    closed: list[int] = field(default_factory=list)
    _clients: dict[int, _Client] = field(default_factory=dict)
    _poll: select.epoll = field(default_factory=select.epoll)

    def __len__(self) -> int:
        return len(self._clients)

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def connect(self, count: int, *, port: int | None = None) -> None:
        """Open ``count`` further connections and subscribe each of them."""
        new = [self._open(port or self.port) for _ in range(count)]
        for frame, confirmation in self.handshake.frames:
            for client in new:
                client.socket.sendall(masked(frame))
            for client in new if confirmation else ():
                self._await_confirmation(client, confirmation.encode())
        for client in new:
            client.socket.setblocking(False)
            self._clients[client.socket.fileno()] = client
            self._poll.register(client.socket, select.EPOLLIN)
            self._take(client, b"")  # what came with the answer

    def pump(self, timeout: float = 0.1) -> int:
        """Read once from all sockets; return the number of messages."""
        before = self.received
        for fd, _ in self._poll.poll(timeout, 1_024):
            self._read(fd)
        return self.received - before

    def pump_until(self, condition: Callable[[], bool], *, timeout: float) -> bool:
        """Read until ``condition`` holds; return whether it did so in time."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.pump()
        return True

    def fewest(self) -> int:
        """Return the smallest number of messages that a client has."""
        return min(client.messages for client in self._clients.values())

    def counts(self) -> Sequence[int]:
        """Return the number of messages of each client."""
        return [client.messages for client in self._clients.values()]

    def close(self) -> None:
        """Break all connections."""
        for client in self._clients.values():
            client.socket.close()
        self._clients.clear()
        self._poll.close()

    def _open(self, port: int) -> _Client:
        sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(request(self.handshake.path, port, self.handshake.headers))
        answer = b""
        while b"\r\n\r\n" not in answer:
            chunk = sock.recv(4_096)
            if not chunk:
                raise ConnectionError(answer.decode(errors="replace"))
            answer += chunk
        head, _, rest = answer.partition(b"\r\n\r\n")
        if b" 101 " not in head.splitlines()[0]:
            raise ConnectionError(head.decode(errors="replace"))
        return _Client(sock, rest)

    def _await_confirmation(self, client: _Client, wanted: bytes) -> None:
        while wanted not in client.rest:
            chunk = client.socket.recv(65_536)
            if not chunk:
                raise ConnectionError(f"closed instead of {wanted!r}: {client.rest!r}")
            if self.on_data is not None:
                self.on_data(chunk)
            client.rest += chunk
        client.rest = _after(client.rest, client.rest.index(wanted))

    def _read(self, fd: int) -> None:
        client = self._clients[fd]
        try:
            data = client.socket.recv(262_144)
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        if self.on_data is not None:
            self.on_data(data)
        self._take(client, data)

    def _take(self, client: _Client, data: bytes) -> None:
        if client.rest:
            data = client.rest + data
        position, count, end = 0, 0, len(data)
        while end - position >= 2:
            length, start = data[position + 1], position + 2
            if length >= 126:
                start += 2 if length == 126 else 8
                if end < start:
                    break
                length = int.from_bytes(data[position + 2 : start], "big")
            if end < start + length:
                break
            if length >= MESSAGE_BYTES:
                count += 1
            else:
                self._small(client, data[position] & 0xF, data[start : start + length])
            position = start + length
        client.rest = data[position:]
        if count:
            client.messages += count
            self.received += count
            if self.on_messages is not None:
                self.on_messages(count)

    def _small(self, client: _Client, opcode: int, payload: bytes) -> None:
        if opcode == PING:
            client.socket.send(masked(payload, opcode=PONG))
        elif opcode == CLOSE:
            self.closed.append(int.from_bytes(payload[:2], "big"))
        for question, answer in self.handshake.answers:
            if payload == question:
                client.socket.send(masked(answer))

    def _drop(self, client: _Client) -> None:
        self._poll.unregister(client.socket)
        del self._clients[client.socket.fileno()]
        client.socket.close()


def request(path: str, port: int, headers: Sequence[str]) -> bytes:
    """Return the request that opens a WebSocket."""
    key = base64.b64encode(b"benchmark-client").decode()
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Origin: http://127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def masked(payload: str | bytes, *, opcode: int = 0x1) -> bytes:
    """Return one frame as clients send it."""
    # A mask of zeros leaves the payload unchanged.
    data = payload.encode() if isinstance(payload, str) else payload
    if len(data) < 126:
        head = bytes((0x80 | opcode, 0x80 | len(data)))
    else:
        head = bytes((0x80 | opcode, 0x80 | 126)) + len(data).to_bytes(2, "big")
    return head + b"\0\0\0\0" + data


def _after(data: bytes, index: int) -> bytes:
    """Return the data after the frame that contains ``index``."""
    position = 0
    while position <= index:
        length, start = data[position + 1], position + 2
        if length >= 126:
            start += 2
            length = int.from_bytes(data[position + 2 : start], "big")
        position = start + length
    return data[position:]
