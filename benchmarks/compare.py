"""
Compare the library with a former commit: ``python -m benchmarks.compare [commit]``.

Both run in turns on the same machine, and what counts is the processor time of each
piece of work, so that the machine does not matter. It ends with an error if a figure is
more than ``LIMIT`` times the one of the former commit.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.environments import ROOT
from benchmarks.fanout import measure_site
from benchmarks.processes import LOAD_CORE, Redis, running_redis
from benchmarks.rooms import measure_rooms

#: Above this many times the former figure something has gone wrong.
LIMIT = 1.15
CLIENTS = 1_000
SECONDS = 2.0


def main() -> None:
    """Print each figure of both, and the median of their ratios."""
    options = _options()
    os.sched_setaffinity(0, {LOAD_CORE})
    ratios: dict[str, list[float]] = {}
    with running_redis() as redis, _checkout(options.commit) as former:
        for _ in range(options.rounds):
            before, now = _figures(former, redis), _figures(ROOT, redis)
            for name, figure in now.items():
                ratios.setdefault(name, []).append(figure / before[name])
                print(f"{name:<32} {before[name]:8.1f} {figure:8.1f}", flush=True)
    medians = {name: statistics.median(found) for name, found in ratios.items()}
    print()
    for name, ratio in medians.items():
        print(f"{name:<32} {ratio:.2f} times {options.commit}")
    if max(medians.values()) > LIMIT:
        sys.exit(f"Something costs more than {LIMIT} times as much as before.")


def _figures(root: Path, redis: Redis) -> dict[str, float]:
    """Return what pieces of work cost with the library of a checkout."""
    fan = measure_site(redis.url, clients=CLIENTS, seconds=SECONDS, root=root)
    rooms = measure_rooms(redis, "pubsub", seconds=SECONDS, root=root)
    return {
        "a delivery, µs": fan.cpu,
        "a page that connects, µs": 1e3 * fan.connect,
        "a page, KB": fan.memory,
        "a message to a room, µs": rooms.server,
        "the same in Redis, µs": rooms.redis,
    }


@contextmanager
def _checkout(commit: str) -> Iterator[Path]:
    """Check out a commit beside the present one."""
    with tempfile.TemporaryDirectory(prefix="bench-former-") as name:
        root = Path(name) / "former"
        _git("worktree", "add", "--detach", str(root), commit)
        try:
            yield root
        finally:
            _git("worktree", "remove", "--force", str(root))


def _git(*command: str) -> None:
    subprocess.run(["git", *command], cwd=ROOT, check=True, capture_output=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("commit", nargs="?", default="HEAD^")
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
