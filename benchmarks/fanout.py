"""Measure one message to many sockets: throughput, cost and delay."""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import ROOT
from benchmarks.load import Fan, Load, Publisher
from benchmarks.processes import Cost
from benchmarks.systems import MESSAGE, Running, django_site, page_of, start_site

__all__ = ["BUSY", "Fanout", "measure", "measure_site", "publisher", "saver"]

#: Messages published together when bursts are measured.
BURST = 10
#: The share of its time from which the load might be what is measured.
BUSY = 0.8
#: What the other systems wrap a message in.
_ENVELOPE = f'{{"type":"message","stream":"room","data":"{MESSAGE}"}}'.replace(
    '"<', "'<"
)


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
    #: The share of its time that the load spent on reading.
    load: float


def publisher(running: Running, count: int = 1) -> Publisher:
    """Return the request by which a system broadcasts ``count`` messages."""
    if running.publish is None:
        return Publisher(running.port, "/pub", _ENVELOPE, times=count)
    return Publisher(running.port, running.publish.format(count))


def saver(running: Running) -> Publisher:
    """Return the request that saves a row, which broadcasts one message."""
    if running.publish is None:
        return publisher(running)
    return Publisher(running.port, "/save/1")


def measure(
    running: Running, *, clients: int, seconds: float, compression: bool
) -> Fanout:
    """Measure one system with ``clients`` sockets."""
    _warm_up(running)
    before = running.server.cost()
    with Load(running.handshake, compression=compression) as load:
        load.connect(clients, running.port)
        connected = _settled(running)
        load.publish_by(publisher(running))
        load.reach_all()
        cost = running.server.cost().cpu
        single = load.fan(seconds)
        used = running.server.cost().cpu - cost
        delays = load.delays(seconds / 2)
        load.publish_by(publisher(running, BURST))
        burst = load.fan(seconds / 2, batch=BURST)
    return Fanout(
        rate=_rate(single),
        cpu=1e6 * used / single.delivered,
        p50=1e3 * statistics.median(delays),
        p99=1e3 * statistics.quantiles(delays, n=100)[98],
        memory=(connected.memory - before.memory) / clients / 1_024,
        connect=1e3 * (connected.cpu - before.cpu) / clients,
        lost=sum(run.published * clients - run.delivered for run in (single, burst)),
        burst=_rate(burst),
        load=_busy(single),
    )


def measure_site(
    redis: str, *, clients: int, seconds: float, root: Path = ROOT
) -> Fanout:
    """Measure our site on uvicorn with a checkout of the library."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        python, env = django_site("ours", "pubsub", Path(name), redis, root)
        page = page_of(python, env)
        running = start_site("ours", Path(name), python, env, page)
        try:
            return measure(running, clients=clients, seconds=seconds, compression=False)
        finally:
            running.server.stop()


def _rate(run: Fan) -> float:
    if _busy(run) > BUSY:
        raise RuntimeError(f"the load was busy for {_busy(run):.0%} of its time")
    return run.delivered / run.seconds


def _busy(run: Fan) -> float:
    return run.busy / run.seconds


def _warm_up(running: Running) -> None:
    """Use the server once, so that it has loaded everything before it is measured."""
    with Load(running.handshake) as load:
        load.connect(20, running.port)
        load.publish_by(publisher(running))
        load.reach_all()
    time.sleep(2.5)  # Daphne checks every second for connections that have ended


def _settled(running: Running) -> Cost:
    """Wait until the server is idle again; return the cost so far."""
    cost = running.server.cost()
    for _ in range(50):
        time.sleep(0.4)
        last, cost = cost, running.server.cost()
        if cost.cpu - last.cpu <= 0.02:
            break
    return cost
