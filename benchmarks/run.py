"""
Measure all systems: ``python benchmarks/run.py``, or ``nox -s bench``.

One core runs the server, another the load, and a row in which the load was busy counts
for nothing. Each round runs all systems, so that other
work on the machine affects all of them. A row shows the median of its rounds.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.environments import STORE
from benchmarks.fanout import Fanout, measure
from benchmarks.further import commit_to_last, hand_over, publish_cost, storm
from benchmarks.processes import LOAD_CORE, Redis, running_redis
from benchmarks.report import claims, document, median, table
from benchmarks.rooms import rooms
from benchmarks.systems import (
    SYSTEMS,
    Running,
    Skipped,
    System,
)
from benchmarks.whispers import whispers


def main() -> None:
    """Measure, print the results, and with ``--write`` write the page."""
    options = _options()
    os.sched_setaffinity(0, {LOAD_CORE})
    gc.disable()
    STORE.mkdir(exist_ok=True)
    chosen = [s for s in SYSTEMS if options.only in f"{s} {s.layer}"]
    with running_redis() as redis:
        results = _fan_out(chosen, redis.url, options)
        further = [*claims(results), *_further(redis, options.only)]
    lines = table(results)
    print()
    for line in lines:
        print("  ".join(cell.ljust(24 if not n else 13) for n, cell in enumerate(line)))
    print("", *further, sep="\n")
    if options.write:
        options.write.write_text(document(lines, further, clients=options.clients))


def _fan_out(
    chosen: list[System], redis: str, options: argparse.Namespace
) -> dict[System, Fanout]:
    rows: dict[System, list[Fanout]] = {}
    for _ in range(options.rounds):
        for system in chosen:
            try:
                with _running(system, redis) as running:
                    row = measure(
                        running,
                        clients=options.clients,
                        seconds=options.seconds,
                        compression=system.compression,
                    )
            except Skipped as reason:
                print(f"{system!s:<42} skipped: {reason}")
                continue
            except (OSError, RuntimeError) as error:
                print(f"{system!s:<42} {system.layer:<7} failed: {error!r:.200}")
                continue
            rows.setdefault(system, []).append(row)
            print(f"{system!s:<42} {system.layer:<7} {_line(row)}", flush=True)
    return {system: median(rounds) for system, rounds in rows.items()}


def _further(redis: Redis, only: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        Path(name).chmod(0o755)
        measurements: dict[str, Callable[[], Iterable[str]]] = {
            "hand-over": lambda: hand_over(redis.url),
            "publish cost": lambda: publish_cost(redis.url),
            "commit to last": lambda: commit_to_last(redis.url, Path(name)),
            "storm": lambda: storm(redis.url),
            "rooms": lambda: rooms(redis),
            "whispers": lambda: whispers(redis),
        }
        for title, take in measurements.items():
            if only in title:
                for line in take():
                    print(line, flush=True)
                    yield line


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", type=Path, help="the page to write")
    return parser.parse_args()


def _line(row: Fanout) -> str:
    return "  ".join(f"{f.name} {getattr(row, f.name):,.2f}" for f in fields(row))


@contextmanager
def _running(system: System, redis: str) -> Iterator[Running]:
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    directory.chmod(0o755)
    try:
        running = system.start(directory, redis)
        try:
            yield running
        finally:
            running.server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
