"""Measure many streams with one page each, which is what most sites have."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import ROOT
from benchmarks.load import Load, Publisher
from benchmarks.processes import Redis
from benchmarks.systems import django_site, page_of, start_site, subscribe

__all__ = ["Rooms", "measure_rooms", "rooms"]

ROOMS = 1_000
BATCH = 250
SECONDS = 4.0
#: Seconds for which the log does not know who shows a new stream.
YOUNG = 40.0


@dataclass(frozen=True, slots=True)
class Rooms:
    """What a message to a room of one page costs; microseconds."""

    rate: float
    #: All server processes together.
    server: float
    redis: float
    lost: int


def rooms(redis: Redis) -> Iterator[str]:
    """Report what a message costs, and how many one process can send."""
    for layer in ("pubsub", "redis"):
        found = measure_rooms(redis, layer)
        yield (
            f"one process and {ROOMS:,} streams of one page, {layer}: "
            f"{found.rate:,.0f} messages a second; each costs the server "
            f"{found.server:.0f} and Redis {found.redis:.0f} µs; {found.lost} lost"
        )


def measure_rooms(
    redis: Redis,
    layer: str,
    *,
    count: int = ROOMS,
    processes: int = 1,
    seconds: float = SECONDS,
    root: Path = ROOT,
) -> Rooms:
    """
    Measure ``count`` rooms, whose pages are shared out among the processes.

    ``root`` is the checkout of the library. One process publishes everything.
    """
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        python, env = django_site("ours", layer, Path(name), redis.url, root)
        env["BENCH_ROOMS"] = str(count)
        page = page_of(python, env)
        started = []
        for _ in range(processes):
            started.append(start_site("ours", Path(name), python, env, page))
            stack.callback(started[-1].server.stop)
        own = map(subscribe, page["signed"])
        load = stack.enter_context(Load(started[0].handshake, own=own))
        for running in started:
            load.connect(count // processes, running.port)
        load.publish_by(Publisher(started[0].port, f"/rooms/{BATCH}"))
        # The first messages of a stream cost more, and go to all processes.
        begun, published = time.monotonic(), 0
        while published < 2 * count or (
            processes > 1 and time.monotonic() < begun + YOUNG
        ):
            published += load.fan(1.0, batch=BATCH, to=1).published
        servers = [running.server for running in started]
        before = sum(server.cost().cpu for server in servers), redis.cost().cpu
        run = load.fan(seconds, batch=BATCH, to=1)
        after = sum(server.cost().cpu for server in servers), redis.cost().cpu
    server, store = (
        1e6 * (end - begin) / run.published
        for begin, end in zip(before, after, strict=True)
    )
    lost = run.published - run.delivered
    return Rooms(run.delivered / run.seconds, server, store, lost)
