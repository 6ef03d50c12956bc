"""
What capture costs beside a plain save: ``python -m benchmarks.outbox.capture``.

The same writes are measured on PostgreSQL in four ways, in turns and in one process:
plainly, with the outbox, with the triggers alone (as another program meets them), and
with capture, which is both. The model is watched, and the watcher does nothing.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.outbox.__main__ import database_of
from tests.support.servers import ROOT, Project

ROUNDS = 11
SAVES = 300
ROWS = 1_000
WAYS = ("plain", "outbox", "triggers", "capture")


def main() -> None:
    """Measure each way, and print the medians and their ratios to the plain one."""
    with (
        tempfile.TemporaryDirectory() as directory,
        database_of(Path(directory), "postgres") as settings,
    ):
        project = Project(Path(directory), {"DATABASES": {"default": settings}})
        project.migrate()
        command = [sys.executable, "-m", "benchmarks.outbox.capture", "measure"]
        subprocess.run(command, env=project.env, cwd=ROOT, check=True)


def measure() -> None:
    """Measure in this process, in which no relay runs."""
    import django

    django.setup()

    from django.db import connection, transaction

    from tests.testapp.models import Room
    from turbo.changes import watch
    from turbo.database.captured import triggers

    watch(Room, lambda change: None)
    triggers.register(Room)
    [made] = triggers.registered()

    def save() -> None:
        for _ in range(SAVES):
            Room.objects.create(name="a")

    def many() -> None:
        with transaction.atomic():
            for _ in range(ROWS):
                Room.objects.create(name="a")

    def update() -> None:
        for _ in range(10):
            Room.objects.filter(pk__lte=ROWS).update(public=True)

    Room.objects.bulk_create(Room(pk=n, name="a") for n in range(1, ROWS + 1))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT setval(pg_get_serial_sequence('testapp_room', 'id'), %s)", [ROWS]
        )

    @contextmanager
    def in_way(way: str) -> Iterator[None]:
        with declared(Room, way):
            if way in ("triggers", "capture"):
                for trigger in made.triggers:
                    trigger.install(Room)
            try:
                yield
            finally:
                for trigger in made.triggers:
                    trigger.uninstall(Room)
                with connection.cursor() as cursor:
                    cursor.execute(
                        "TRUNCATE turbo_database_capturedstatement; DELETE FROM "
                        f"testapp_room WHERE id > {ROWS}"
                    )
                    cursor.execute("VACUUM testapp_room")

    for name, work, count in (
        ("a save under autocommit", save, SAVES),
        (f"each of {ROWS:,} saves in one transaction", many, ROWS),
        (f"one UPDATE of {ROWS:,} rows", update, 10),
    ):
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(ROUNDS):
            for way in WAYS:
                with in_way(way):
                    times[way].append(_time(work, count))
        print(f"{name}: {_compared(times)}", flush=True)


@contextmanager
def declared(model: type, way: str) -> Iterator[None]:
    """Let the model be durable or captured inside the block."""
    from turbo.changes import captured, durability

    if way in ("outbox", "capture"):
        durability.durable(model)
    if way == "capture":
        captured._captured.add(model)
    captured._known.clear()
    try:
        yield
    finally:
        durability._durable.clear()
        captured._captured.clear()
        captured._known.clear()


def _time(work: Callable[[], None], count: int) -> float:
    begin = time.perf_counter()
    work()
    return (time.perf_counter() - begin) / count * 1e6


def _compared(times: dict[str, list[float]]) -> str:
    medians = {way: statistics.median(rounds) for way, rounds in times.items()}
    return ", ".join(
        f"{way} {median:.0f} µs ({median / medians['plain']:.2f})"
        for way, median in medians.items()
    )


if __name__ == "__main__":
    measure() if "measure" in sys.argv else main()
