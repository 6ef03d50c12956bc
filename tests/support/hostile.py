"""Clients that break the rules of the protocol, on raw sockets."""

from __future__ import annotations

import json
import select
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any, Self
from urllib.request import urlopen

from tests.support.servers import PATIENCE, WebServer, wait_until

__all__ = ["CLOSE", "PING", "Hostile", "Hostiles", "frame", "standing", "until_same"]

TEXT, CLOSE, PING = 1, 8, 9
#: The most bytes that a client tries to send.
FLOOD = 64 * 2**20
#: Seconds after which a socket that accepts nothing counts as full.
FULL = 1.0

HANDSHAKE = """\
GET {path} HTTP/1.1\r
Host: 127.0.0.1:{port}\r
Origin: http://127.0.0.1:{port}\r
Upgrade: websocket\r
Connection: Upgrade\r
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r
Sec-WebSocket-Version: 13\r
"""


def frame(payload: bytes = b"", opcode: int = TEXT, *, flags: int = 0x80) -> bytes:
    """Return a client's frame; its mask of zeros leaves the payload unchanged."""
    size = len(payload)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65_536:
        length = b"\xfe" + struct.pack("!H", size)
    else:
        length = b"\xff" + struct.pack("!Q", size)
    return bytes([flags | opcode]) + length + b"\0\0\0\0" + payload


def standing(server: WebServer, query: str = "") -> dict[str, int]:
    """Return the numbers of objects in the server; see ``tests.project.counted``."""
    with urlopen(f"{server.url}/standing?{query}", timeout=PATIENCE) as response:
        numbers: dict[str, int] = json.load(response)
    return numbers


#: The numbers to compare, and how much each varies by itself.
HELD = {
    "tasks": 5,
    "connections": 0,
    "topics": 0,
    "descriptors": 5,
    "blocked": 0,
    "running": 0,
}


def until_same(server: WebServer, before: dict[str, int]) -> None:
    """Wait until the server holds no more than before."""
    wait_until(lambda: _excess(server, before) == {}, what="nothing is held")


def _excess(server: WebServer, before: dict[str, int]) -> dict[str, int]:
    now = standing(server)
    return {name: now[name] for name in HELD if now[name] > before[name] + HELD[name]}


class Hostile:
    """One client."""

    def __init__(
        self, port: int, path: str = "/ws/", *, whole: bool = True, headers: str = ""
    ) -> None:
        self.socket = socket.socket()
        # Small buffers, so that they are soon full if one side does not read.
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self.socket.setsockopt(socket.SOL_SOCKET, option, 16_384)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", port))
        request = HANDSHAKE.format(path=path, port=port).encode() + headers.encode()
        if not whole:
            self.socket.sendall(request)
            return
        self.socket.sendall(request + b"\r\n")
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += self.socket.recv(1)
        assert b" 101 " in answer, answer

    def send(self, **message: Any) -> None:
        """Send a message."""
        self.socket.sendall(frame(json.dumps(message).encode()))

    def subscribe(self, *signed: str) -> None:
        """Subscribe to streams without waiting for the answer."""
        self.send(type="subscribe", streams=[{"name": name} for name in signed])

    def receive(self) -> bytes:
        """Return the payload of the next frame, which must be short and unmasked."""
        head = self._exactly(2)
        size = head[1]
        if size == 126:
            size = struct.unpack("!H", self._exactly(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", self._exactly(8))[0]
        return self._exactly(size)

    def flood(self, data: bytes, *, limit: int = FLOOD) -> int:
        """Send ``data`` until the socket is full; return the number of bytes."""
        self.socket.setblocking(False)
        block = memoryview(data * max(1, 262_144 // len(data)))
        sent, place = 0, 0
        while sent < limit:
            try:
                done = self.socket.send(block[place:])
            except BlockingIOError:
                if not select.select([], [self.socket], [], FULL)[1]:
                    break
                continue
            except OSError:
                break
            sent, place = sent + done, (place + done) % len(block)
        return sent

    def is_closed(self) -> bool:
        """Return whether the server has closed the connection."""
        self.socket.setblocking(False)
        try:
            while self.socket.recv(65_536):
                pass
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def leave(self) -> None:
        """Disconnect without a close frame."""
        self.socket.close()

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            chunk = self.socket.recv(size - len(data))
            assert chunk, "closed"
            data += chunk
        return data


class Hostiles:
    """Many clients, which disconnect at the end of their block at the latest."""

    def __init__(self, count: int, make: Callable[[], Hostile]) -> None:
        self._stack = ExitStack()
        self.clients = []
        for _ in range(count):
            self.clients.append(make())
            self._stack.callback(self.clients[-1].leave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.leave()

    def flood(self, data: bytes, *, each: int = FLOOD) -> None:
        """Send from all clients until the server accepts nothing more."""
        sockets = {client.socket: memoryview(data) for client in self.clients}
        left = dict.fromkeys(sockets, each)
        poll = select.poll()
        for sock in sockets:
            sock.setblocking(False)
            poll.register(sock, select.POLLOUT)
        found = {sock.fileno(): sock for sock in sockets}
        while ready := poll.poll(1_000 * FULL):
            for number, _ in ready:
                sock, done = found[number], 0
                with suppress(OSError):
                    done = sock.send(sockets[sock])
                sockets[sock] = sockets[sock][done:] or memoryview(data)
                left[sock] -= done
                if left[sock] <= 0 or not done:
                    poll.unregister(sock)

    def leave(self) -> None:
        """Disconnect all clients without a close frame."""
        self._stack.close()
