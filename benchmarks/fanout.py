"""Measure one message to many sockets: throughput, cost and delay."""

from __future__ import annotations

import http.client
import statistics
import time
from dataclasses import dataclass

from benchmarks.processes import Cost
from benchmarks.sockets import Crowd
from benchmarks.systems import MESSAGE, Running

__all__ = ["Fanout", "Publisher", "measure"]

#: Messages published together when bursts are measured.
BURST = 10


@dataclass(frozen=True, slots=True)
class Fanout:
    """The figures of one row; microseconds, milliseconds, kilobytes."""

    rate: float
    cpu: float
    p50: float
    p99: float
    memory: float
    connect: float
    lost: int
    #: Deliveries a second when ten messages are published together.
    burst: float


class Publisher:
    """Make a system broadcast, over one HTTP connection that stays open."""

    def __init__(self, running: Running) -> None:
        self._path = running.publish
        self._http = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)

    def publish(self, count: int) -> float:
        """Broadcast ``count`` messages; return the server's time before the first."""
        if self._path is not None:
            return self._post(self._path.format(count))
        started = time.monotonic()
        for _ in range(count):
            self._post("/pub", body=_ENVELOPE)
        return started

    def save(self) -> float:
        """Save a row that broadcasts; return the time of the commit."""
        if self._path is not None:
            return self._post("/save/1")
        return self.publish(1)

    def close(self) -> None:
        self._http.close()

    def _post(self, path: str, body: str = "") -> float:
        started = time.monotonic()
        self._http.request("POST", path, body=body)
        response = self._http.getresponse()
        answer = response.read()
        if response.status >= 400:
            raise RuntimeError(f"{path}: {response.status} {answer[:500]!r}")
        try:
            return float(answer) or started
        except ValueError:
            return started


_ENVELOPE = f'{{"type":"message","stream":"room","data":"{MESSAGE}"}}'.replace(
    '"<', "'<"
)


def measure(running: Running, *, clients: int, seconds: float) -> Fanout:
    """Measure one system with ``clients`` sockets."""
    _warm_up(running)
    before = running.server.cost()
    crowd = Crowd(running.port, running.handshake)
    crowd.connect(clients)
    connected = _settled(running, crowd)
    publisher = Publisher(running)
    _reach_all(crowd, publisher)
    rate, cpu, lost = _closed_loop(running, crowd, publisher, seconds=seconds)
    burst, _, lost_in_burst = _closed_loop(
        running, crowd, publisher, seconds=seconds / 2, batch=BURST
    )
    delays = _delays(crowd, publisher, seconds / 2)
    publisher.close()
    crowd.close()
    return Fanout(
        rate=rate,
        cpu=cpu,
        p50=1e3 * statistics.median(delays),
        p99=1e3 * statistics.quantiles(delays, n=100)[98],
        memory=(connected.memory - before.memory) / clients / 1_024,
        connect=1e3 * (connected.cpu - before.cpu) / clients,
        lost=lost + lost_in_burst,
        burst=burst,
    )


def _warm_up(running: Running) -> None:
    """Use the server once, so that it has loaded everything before it is measured."""
    crowd = Crowd(running.port, running.handshake)
    crowd.connect(20)
    publisher = Publisher(running)
    _reach_all(crowd, publisher)
    crowd.close()
    publisher.close()
    time.sleep(2.5)  # Daphne checks every second for connections that have ended


def _settled(running: Running, crowd: Crowd) -> Cost:
    """Wait until the server is idle again; return the cost so far."""
    cost = running.server.cost()
    for _ in range(50):
        crowd.pump(0.2)
        crowd.pump(0.2)
        last, cost = cost, running.server.cost()
        if cost.cpu - last.cpu <= 0.02:
            break
    return cost


def _reach_all(crowd: Crowd, publisher: Publisher) -> None:
    """Broadcast until every client has got a message, so all are subscribed."""
    for _ in range(60):
        publisher.publish(1)
        if crowd.pump_until(lambda: crowd.fewest() > 0, timeout=0.5):
            break
    else:
        raise RuntimeError(f"not all are subscribed: {crowd.fewest()}")
    while crowd.pump(0.5):
        pass


def _closed_loop(
    running: Running,
    crowd: Crowd,
    publisher: Publisher,
    *,
    seconds: float,
    batch: int = 1,
) -> tuple[float, float, int]:
    """Keep ``batch`` to twice as many messages on their way, and return the figures."""
    clients, start = len(crowd), crowd.received
    cost, begun = running.server.cost(), time.monotonic()
    published, deadline = 0, begun + seconds
    while time.monotonic() < deadline:
        if published * clients - (crowd.received - start) <= clients * batch:
            publisher.publish(batch)
            published += batch
        crowd.pump()
    wanted = published * clients
    crowd.pump_until(lambda: crowd.received - start >= wanted, timeout=5)
    elapsed = time.monotonic() - begun
    used = running.server.cost().cpu - cost.cpu
    delivered = crowd.received - start
    return delivered / elapsed, 1e6 * used / delivered, wanted - delivered


def _delays(crowd: Crowd, publisher: Publisher, seconds: float) -> list[float]:
    """Broadcast one message at a time, and return the delay at each socket."""
    delays: list[float] = []
    moments: list[float] = []
    deadline = time.monotonic() + seconds
    crowd.on_messages = lambda count: moments.append(time.monotonic())
    while time.monotonic() < deadline:
        moments.clear()
        goal = crowd.received + len(crowd)
        started = publisher.publish(1)
        crowd.pump_until(lambda goal=goal: crowd.received >= goal, timeout=5)
        delays += [moment - started for moment in moments]
        crowd.pump_until(lambda: False, timeout=0.02)
    crowd.on_messages = None
    return delays
