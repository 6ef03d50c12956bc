"""
The load of the benchmarks, which must not be their limit: :class:`Load`.

``load.c`` beside this module is compiled on first use, with the C compiler ``cc``. It
holds all connections and publishes, so that nothing of Python runs while it measures.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import STORE, program
from benchmarks.processes import LOAD_CORE
from benchmarks.sockets import Handshake, masked, request

__all__ = ["Fan", "Load", "Publisher"]

SOURCE = Path(__file__).parent / "load.c"
#: What a browser asks for.
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"


@dataclass(frozen=True, slots=True)
class Publisher:
    """The request that makes a server broadcast, and how often it is sent."""

    port: int
    path: str
    body: str = ""
    times: int = 1

    def request(self) -> bytes:
        """Return the bytes of the request."""
        body = self.body.encode()
        head = (
            f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


@dataclass(frozen=True, slots=True)
class Fan:
    """What a closed loop did."""

    seconds: float
    published: int
    delivered: int
    #: The seconds that the load spent on reading.
    busy: float


class Load:
    """The process with the connections, on its own core."""

    def __init__(
        self,
        handshake: Handshake,
        *,
        compression: bool = False,
        own: Iterable[str] = (),
    ) -> None:
        """
        Start the process.

        ``own`` are the first frames of the connections, where they are not all alike.
        """
        self._handshake, self._compression = handshake, compression
        self._connections = 0
        self._popen = subprocess.Popen(
            ["taskset", "--cpu-list", str(LOAD_CORE), str(_binary())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        for frame, confirmation in handshake.frames:
            self._do("ask", _hex(masked(frame)), _hex(confirmation.encode()))
        for frame in own:
            self._do("own", _hex(masked(frame)))
        for question, answer in handshake.answers:
            self._do("reply", _hex(question), _hex(masked(answer)))

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def connect(self, count: int, port: int) -> None:
        """Open ``count`` further connections and subscribe each of them."""
        headers = (*self._handshake.headers, *([DEFLATE] if self._compression else []))
        self._do("head", _hex(request(self._handshake.path, port, headers)))
        self._connections = int(self._do("connect", port, count))

    def publish_by(self, publisher: Publisher) -> None:
        """Set how messages are published from now on."""
        self._do("publish", publisher.port, _hex(publisher.request()), publisher.times)

    def publish(self) -> None:
        """Publish once, and wait for the answer."""
        self._do("reach")

    def reach_all(self) -> None:
        """Publish until every connection has got a message, so all are subscribed."""
        for _ in range(60):
            if int(self._do("reach")):
                return
        raise RuntimeError("not all connections are subscribed")

    def fan(self, seconds: float, *, batch: int = 1, to: int | None = None) -> Fan:
        """
        Keep ``batch`` to twice as many messages on their way.

        Each goes to all connections, or to so many of them.
        """
        for_each = self._connections if to is None else to
        answer = self._do("fan", seconds, batch, for_each)
        took, published, delivered, busy = answer.split()
        return Fan(float(took), int(published), int(delivered), float(busy))

    def delays(self, seconds: float) -> list[float]:
        """Publish one message at a time; return its delays, in seconds."""
        return [1e-6 * float(delay) for delay in self._do("delay", seconds).split()]

    def delays_of_last(self, count: int) -> list[float]:
        """Publish ``count`` messages, and return the delays at the last connection."""
        return [1e-6 * float(delay) for delay in self._do("last", count).split()]

    def close(self) -> None:
        """Break all connections."""
        self._popen.kill()
        self._popen.communicate()

    def _do(self, *words: object) -> str:
        assert self._popen.stdin is not None
        assert self._popen.stdout is not None
        self._popen.stdin.write(" ".join(map(str, words)) + "\n")
        self._popen.stdin.flush()
        answer = self._popen.stdout.readline().strip()
        if not answer or answer.startswith("error"):
            raise RuntimeError(f"the load: {answer or 'has ended'}")
        return answer


def _hex(data: bytes) -> str:
    return data.hex() or "-"


def _binary() -> Path:
    source = SOURCE.read_bytes()
    binary = STORE / f"load-{hashlib.sha256(source).hexdigest()[:12]}"
    if not binary.is_file():
        compiler = program("cc")
        if compiler is None:
            raise RuntimeError("The load needs a C compiler: install gcc.")
        STORE.mkdir(exist_ok=True)
        subprocess.run([compiler, "-O2", "-o", str(binary), str(SOURCE)], check=True)
    return binary
