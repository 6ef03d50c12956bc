"""
Kill a writer under load, again and again, and count what never reaches the log.

``python -m benchmarks.outbox --database postgres --kills 1000`` does so with the outbox
and without it. The writers of :mod:`benchmarks.outbox.writer` save and delete messages;
what is in the database at the end must be in the log, whoever has told it.
"""

from __future__ import annotations

import argparse
import html
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.settings import sqlite_database
from tests.support.servers import (
    ROOT,
    Postgres,
    Project,
    Valkey,
    channel_layer,
    wait_until,
)

#: Two relays compete, as the processes of a site do.
RELAYS = 2
PATIENCE = 300.0


def main() -> None:
    """Measure both, and print what was lost and what was told twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="sqlite")
    parser.add_argument("--kills", type=int, default=1_000)
    options = parser.parse_args()
    for durable in (True, False):
        with tempfile.TemporaryDirectory() as directory:
            run(Path(directory), options.database, options.kills, durable=durable)


def run(directory: Path, database: str, kills: int, *, durable: bool) -> None:
    """Kill writers of one site, and compare its database with its log."""
    valkey = Valkey(directory)
    valkey.start()
    try:
        with database_of(directory, database) as settings:
            project = Project(
                directory,
                {
                    "DATABASES": {"default": settings},
                    "CHANNEL_LAYERS": {"default": channel_layer("redis", valkey.url)},
                    "TURBO": {
                        "OUTBOX": durable,
                        "REPLAY_LENGTH": 100_000,
                        "REPLAY_AGE": 36_000,
                    },
                },
            )
            project.migrate()
            project.manage("seed")
            begin = time.monotonic()
            _kill(project, kills, durable=durable)
            _report(project, valkey, kills, time.monotonic() - begin, durable=durable)
    finally:
        valkey.kill()


@contextmanager
def database_of(directory: Path, kind: str) -> Iterator[dict[str, Any]]:
    if kind == "sqlite":
        yield sqlite_database(directory / "site.sqlite3")
        return
    server = Postgres()
    try:
        yield server.create("site")
    finally:
        server.close()


def _kill(project: Project, kills: int, *, durable: bool) -> None:
    module = [sys.executable, "-m"]
    relays = [
        subprocess.Popen([*module, "django", "turbo_relay"], env=project.env, cwd=ROOT)
        for _ in range(RELAYS if durable else 0)
    ]
    try:
        writer = [*module, "benchmarks.outbox.writer", str(kills)]
        subprocess.run(writer, env=project.env, cwd=ROOT, check=True)
        if durable:
            wait_until(lambda: not _count(project), timeout=PATIENCE, what="empty")
    finally:
        for relay in relays:
            relay.terminate()
            relay.wait()


def _count(project: Project) -> int:
    models = "turbo.database.models"
    code = f"from {models} import OutboxEntry; print(OutboxEntry.objects.count())"
    return int(project.shell(code))


def _report(
    project: Project, valkey: Valkey, kills: int, seconds: float, *, durable: bool
) -> None:
    expected = [change for text in _texts(project) for change in _of(text)]
    told: Counter[str] = Counter()
    with valkey.client() as client:
        for key in client.scan_iter("turbo:*:log", count=1_000):
            entries: Any = client.xrange(key)
            told.update(_told(fields.get("d", "")) for _, fields in entries)
    lost = [change for change in expected if change not in told]
    again = sum(told[change] - 1 for change in expected if change in told)
    kind = "with the outbox" if durable else "without it"
    print(
        f"{kind}: {kills} kills in {seconds:.0f} s, {len(expected)} committed changes, "
        f"{len(lost)} lost, {again} told again; for example {lost[:5]}",
        flush=True,
    )


def _texts(project: Project) -> list[str]:
    """Return the texts of all messages in the database."""
    code = (
        "from tests.testapp.models import Message;"
        "print(*Message.objects.values_list('text', flat=True))"
    )
    return project.shell(code).split()


def _of(text: str) -> Iterator[str]:
    """Yield the changes that were committed if a message with this text is there."""
    yield text
    transaction, verb, gone = text.partition(".verb.")
    if verb:
        yield f"<{transaction}.verb>"
        if gone != "0":
            yield f"message-{gone}"


def _told(element: str) -> str:
    """Return what an element in the log is about."""
    text = html.unescape(element)
    for pattern in (r"<n[\d.]+verb>", r"(?<=>)[n\d][\w.]+(?=</li>)"):
        if found := re.search(pattern, text):
            return found[0]
    found = re.search(r'action="remove" target="([\w-]+)"', text)
    return found[1] if found else ""


if __name__ == "__main__":
    main()
