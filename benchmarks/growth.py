"""
What grows with what: ``python -m benchmarks.growth``.

Pages, streams and processes are multiplied, one after the other. The pictures go into
``docs/topics/growth/``; the figures are printed.
"""

from __future__ import annotations

import gc
import os

from benchmarks.environments import ROOT, STORE
from benchmarks.fanout import Fanout, measure_site
from benchmarks.plot import plot
from benchmarks.processes import LOAD_CORE, running_redis
from benchmarks.rooms import Rooms, measure_rooms

PLACE = ROOT / "docs" / "topics" / "growth"
#: Pages of one process; the kernel allows 20,000 open files where this was measured.
PAGES = (300, 1_000, 3_000, 10_000, 18_000)
#: Streams of one page each.
STREAMS = (1, 10, 100, 1_000, 10_000)
PROCESSES = (1, 2, 4)
SECONDS = 4.0


def main() -> None:
    """Measure, and write the pictures."""
    os.sched_setaffinity(0, {LOAD_CORE})
    gc.disable()
    STORE.mkdir(exist_ok=True)
    with running_redis() as redis:
        pages = {
            count: measure_site(redis.url, clients=count, seconds=SECONDS)
            for count in PAGES
        }
        streams = {
            count: measure_rooms(redis, "pubsub", count=count, seconds=SECONDS)
            for count in STREAMS
        }
        processes = {
            count: measure_rooms(redis, "pubsub", processes=count, seconds=SECONDS)
            for count in PROCESSES
        }
    PLACE.mkdir(exist_ok=True)
    _write_pages(pages)
    _write_rooms(streams, "streams", "streams with one page each")
    _write_rooms(processes, "processes", "server processes that share 1,000 streams")


def _write_pages(pages: dict[int, Fanout]) -> None:
    for count, found in pages.items():
        print(f"{count:,} pages: {found}", flush=True)
    cost = [(count, found.cpu) for count, found in pages.items()]
    memory = [(count, found.memory) for count, found in pages.items()]
    connect = [(count, 1e3 * found.connect) for count, found in pages.items()]
    across = "open pages in one process"
    _write("delivery", "One delivery", across, "µs of the server", {"delivery": cost})
    _write("memory", "One open page", across, "KB of the server", {"memory": memory})
    _write("connect", "One page that connects", across, "µs", {"connect": connect})


def _write_rooms(found: dict[int, Rooms], name: str, across: str) -> None:
    for count, figures in found.items():
        print(f"{count:,} {across}: {figures}", flush=True)
    lines = {
        "servers": [(count, figures.server) for count, figures in found.items()],
        "Redis": [(count, figures.redis) for count, figures in found.items()],
    }
    _write(name, "One message to a room", across, "µs of processor time", lines)


def _write(
    name: str, title: str, x: str, y: str, lines: dict[str, list[tuple[int, float]]]
) -> None:
    (PLACE / f"{name}.svg").write_text(plot(title, x, y, lines))


if __name__ == "__main__":
    main()
