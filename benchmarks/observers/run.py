"""
Compare instance observers with those of Django Channels REST Framework.

Run it with ``python benchmarks/observers/run.py``. All clients use one consumer, and
are subscribed to the same object. Daphne has its own core, and another process saves
the object. Each round runs all systems; a row shows the median of its rounds. Queries
are counted in the server, for each save.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.environments import STORE, python_environment  # noqa: E402
from benchmarks.processes import LOAD_CORE, Server, free_port, running_redis  # noqa: E402
from benchmarks.sockets import Crowd, Handshake  # noqa: E402

SITE = Path(__file__).resolve().parent / "site"
PEER = ("djangochannelsrestframework==1.3.0", "daphne", "channels-redis")
#: Saves on their way at the same time.
WINDOW = 4


@dataclass(frozen=True, slots=True)
class System:
    """A row of the table."""

    library: str
    layer: str

    def __str__(self) -> str:
        name = {"ours": "turbo.observers", "dcrf": "Django Channels REST Framework"}
        return f"{name[self.library]} ({self.layer})"

    def python(self) -> Path:
        if self.library == "ours":
            return Path(sys.executable)
        return python_environment("dcrf", *PEER)


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one round."""

    rate: float
    cpu: float
    queries: float
    lost: int


SYSTEMS = [
    System(library, layer)
    for layer in ("redis", "pubsub")
    for library in ("ours", "dcrf")
]


def main() -> None:
    options = _options()
    os.sched_setaffinity(0, {LOAD_CORE})
    STORE.mkdir(exist_ok=True)
    rows: dict[System, list[Figures]] = {system: [] for system in SYSTEMS}
    with running_redis() as redis:
        for _ in range(options.rounds):
            for system in SYSTEMS:
                figures = _round(system, redis.url, options)
                rows[system].append(figures)
                print(f"{system!s:<40} {figures}", flush=True)
    _report(rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clients", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _round(system: System, redis: str, options: argparse.Namespace) -> Figures:
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        env = _environment(system, directory, redis)
        with _writer(system, env) as writer, _server(system, directory, env) as server:
            return _measure(server, writer, options)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _environment(system: System, directory: Path, redis: str) -> dict[str, str]:
    return {
        "BENCH_DIRECTORY": str(directory),
        "BENCH_LAYER": system.layer,
        "BENCH_LIBRARY": system.library,
        "BENCH_REDIS": redis,
        "PYTHONPATH": os.pathsep.join([str(SITE), str(ROOT)]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


@contextmanager
def _server(system: System, directory: Path, env: dict[str, str]) -> Iterator[Server]:
    port = free_port()
    command = [str(system.python()), "-m", "daphne", "-p", str(port), "-v", "0"]
    server = Server(
        [*command, "observed_asgi:application"], port=port, directory=directory, env=env
    )
    try:
        yield server
    finally:
        server.stop()


class Writer:
    """The process that saves."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self._popen = popen
        self._answer()

    def save(self, count: int) -> None:
        """Save ``count`` times, and wait for the writer's answer."""
        assert self._popen.stdin is not None
        self._popen.stdin.write(f"{count}\n")
        self._popen.stdin.flush()
        self._answer()

    def _answer(self) -> None:
        assert self._popen.stdout is not None
        if not self._popen.stdout.readline():
            raise RuntimeError("The writer has ended.")


@contextmanager
def _writer(system: System, env: dict[str, str]) -> Iterator[Writer]:
    popen = subprocess.Popen(
        [str(system.python()), str(SITE / "writer.py")],
        env={**os.environ, **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Writer(popen)
    finally:
        popen.terminate()
        popen.wait(10)


def _measure(server: Server, writer: Writer, options: argparse.Namespace) -> Figures:
    crowd = Crowd(server.port, _handshake("0"))
    for number in range(options.clients):  # each has a request id of its own
        crowd.handshake = _handshake(f"client-{number}")
        crowd.connect(1)
    writer.save(1)
    if not crowd.pump_until(lambda: crowd.fewest() >= 1, timeout=30):
        raise RuntimeError("Not every client got the first save.")
    start, queries = crowd.received, _statements(server)
    cost, begun, saved = server.cost(), time.monotonic(), 0
    while time.monotonic() < begun + options.seconds:
        if saved * len(crowd) - (crowd.received - start) < WINDOW * len(crowd):
            writer.save(1)
            saved += 1
        crowd.pump(0.001)
    wanted = saved * len(crowd)
    crowd.pump_until(lambda: crowd.received - start >= wanted, timeout=20)
    elapsed = time.monotonic() - begun
    delivered = crowd.received - start
    used = server.cost().cpu - cost.cpu
    figures = Figures(
        rate=delivered / elapsed,
        cpu=1e6 * used / delivered,
        queries=(_statements(server) - queries) / saved,
        lost=wanted - delivered,
    )
    crowd.close()
    return figures


def _handshake(request_id: str) -> Handshake:
    subscribe = {"action": "subscribe_instance", "request_id": request_id, "pk": 1}
    frame = json.dumps(subscribe), "subscribe_instance"
    return Handshake(path="/ws/", frames=(frame,))


def _statements(server: Server) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request("GET", "/statements")
        return int(connection.getresponse().read())
    finally:
        connection.close()


def _report(rows: dict[System, list[Figures]]) -> None:
    print(f"\n{'':<40} {'deliveries/s':>12} {'µs each':>8} {'queries':>8} {'lost':>5}")
    for system, figures in rows.items():
        rate = statistics.median(f.rate for f in figures)
        cpu = statistics.median(f.cpu for f in figures)
        queries = statistics.median(f.queries for f in figures)
        lost = sum(f.lost for f in figures)
        print(f"{system!s:<40} {rate:>12,.0f} {cpu:>8.1f} {queries:>8.1f} {lost:>5}")
    for layer in ("redis", "pubsub"):
        ours, theirs = (
            statistics.median(f.rate for f in rows[System(library, layer)])
            for library in ("ours", "dcrf")
        )
        print(f"{layer}: {ours / theirs:.1f} times as many")


if __name__ == "__main__":
    main()
