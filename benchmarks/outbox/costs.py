"""
What the outbox costs beside a plain save: ``python -m benchmarks.outbox.costs``.

The same saves are measured in a project without ``turbo.database``, with it, and with
the outbox in use: one by one under autocommit, one by one in ``atomic()``, and 1,000 in
one transaction. The model is watched, and the watcher does nothing.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.outbox.__main__ import database_of
from tests.settings import INSTALLED_APPS
from tests.support.servers import ROOT, Project

ROUNDS = 7
SAVES = 300
ROWS = 1_000

WITHOUT = [app for app in INSTALLED_APPS if app != "turbo.database"]
KINDS = {
    "without turbo.database": {"INSTALLED_APPS": WITHOUT},
    "with it, not in use": {},
    "with the outbox": {"TURBO": {"OUTBOX": True}},
}


def main() -> None:
    """Measure each kind of project in a process of its own, in turns."""
    for database in ("sqlite", "postgres"):
        with (
            tempfile.TemporaryDirectory() as directory,
            database_of(Path(directory), database) as settings,
        ):
            databases = {"default": settings}
            Project(Path(directory), {"DATABASES": databases}).migrate()
            for name, more in KINDS.items():
                project = Project(Path(directory), {"DATABASES": databases, **more})
                done = subprocess.run(
                    [sys.executable, "-m", "benchmarks.outbox.costs", "measure"],
                    env=project.env,
                    cwd=ROOT,
                    capture_output=True,
                    text=True,
                    check=True,
                )
                print(f"{database}, {name}: {done.stdout.strip()}", flush=True)


def measure() -> None:
    """Print the microseconds of one save in each way."""
    import django

    django.setup()

    from django.db import transaction

    from tests.testapp.models import Room
    from turbo.changes import watch

    watch(Room, lambda change: None)

    def save() -> None:
        Room.objects.create(name="a")

    def in_transaction() -> None:
        with transaction.atomic():
            save()

    def many() -> None:
        with transaction.atomic():
            for _ in range(ROWS):
                save()

    print(
        f"{_time(save, SAVES):.0f} µs under autocommit, "
        f"{_time(in_transaction, SAVES):.0f} µs in atomic(), "
        f"{_time(many, 1) / ROWS:.0f} µs for each of {ROWS:,} in one transaction"
    )


def _time(work: Callable[[], None], count: int) -> float:
    """Return the microseconds of one call: the median of several rounds."""
    rounds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for _ in range(count):
            work()
        rounds.append((time.perf_counter() - begin) / count * 1e6)
    return statistics.median(rounds)


if __name__ == "__main__":
    measure() if "measure" in sys.argv else main()
