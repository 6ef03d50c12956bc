"""
Measure a site without Redis: ``python -m benchmarks.database {sqlite,postgres,…}``.

Two Daphne processes serve a page each, and a third process saves. Beside the databases,
``valkey`` is measured in the same way for comparison.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import django
import psutil
import psycopg

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from tests.support.clients import LivePage  # noqa: E402
from tests.support.servers import (  # noqa: E402
    Daphne,
    Postgres,
    Project,
    Valkey,
    channel_layer,
)

KINDS = ("valkey", "sqlite", "postgres", "postgres-polling")
#: Saves whose way is timed, and those that follow each other without a pause.
TIMED, BURST = 300, 2_000
#: Seconds during which nothing happens.
IDLE = 20.0

WRITER = """
import sys, time
from tests.testapp.models import Message

def say(count, pause):
    for _ in range(count):
        time.sleep(pause)
        Message.objects.create(room_id=1, text=f"{{time.monotonic()}}")

say(20, 0.02)
say({timed}, 0.02)
begun = time.monotonic()
say({burst}, 0)
print(time.monotonic() - begun)
"""


class TimedPage(LivePage):
    """A page that notes how old each message is."""

    def __init__(self, url: str, signed: str) -> None:
        super().__init__(url, signed)
        self.ages: list[float] = []

    async def _hear(self, frame: dict[str, Any], socket: Any) -> None:
        if frame["type"] == "message":
            text = frame["data"].split("<li", 1)[1].split(">", 1)[1].split("<", 1)[0]
            self.ages.append(time.monotonic() - float(text))
        await super()._hear(frame, socket)


@contextmanager
def site(kind: str, directory: Path) -> Iterator[tuple[Project, Postgres | None]]:
    """A project of one kind, with its tables and rooms."""
    with ExitStack() as stack:
        server: Postgres | None = None
        url, turbo = "", {"DATABASE": "default"}
        databases: dict[str, Any] = {"default": _sqlite(directory / "site.sqlite3")}
        if kind.startswith("postgres"):
            server = Postgres()
            stack.callback(server.close)
            databases = {"default": server.create("site")}
        elif kind == "sqlite":
            turbo["DATABASE"] = "turbo"
            databases["turbo"] = _sqlite(directory / "turbo.sqlite3")
        else:
            valkey = Valkey(directory)
            valkey.start()
            stack.callback(valkey.kill)
            url = valkey.url
        layer = channel_layer("pubsub" if url else "sqlite", url)
        if kind == "postgres-polling":
            layer["CONFIG"] = {"listen": False}
        project = Project(
            directory,
            {
                "DATABASES": databases,
                "TURBO": turbo,
                "CHANNEL_LAYERS": {"default": layer},
            },
        )
        project.migrate()
        project.manage("seed")
        yield project, server


def _sqlite(path: Path) -> dict[str, Any]:
    pragmas = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
    options = {"transaction_mode": "IMMEDIATE", "init_command": pragmas}
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": options | {"timeout": 60},
    }


async def measure(kind: str) -> list[str]:
    """Return what was measured, a line for each figure."""
    with (
        tempfile.TemporaryDirectory() as name,
        site(kind, Path(name)) as (
            project,
            postgres,
        ),
    ):
        servers = [Daphne(project), Daphne(project)]
        for server in servers:
            server.start()
        try:
            return await _measure(project, servers, postgres)
        finally:
            for server in servers:
                server.kill()


async def _measure(
    project: Project, servers: list[Daphne], postgres: Postgres | None
) -> list[str]:
    name = project.shell(
        "from tests.testapp.models import Room\n"
        "print(Room.objects.get(pk=1).stream.signed_stream_name)"
    )
    pages = [TimedPage(server.ws_url, name) for server in servers]
    await asyncio.gather(*(page.__aenter__() for page in pages))
    lines = []
    before = [psutil.Process(s.pid).cpu_times() for s in servers]
    queries = _queries(postgres)
    await asyncio.sleep(IDLE)
    cpu = sum(
        (n := psutil.Process(s.pid).cpu_times()).user + n.system - b.user - b.system
        for s, b in zip(servers, before, strict=True)
    )
    idle = f"idle: {100 * cpu / IDLE / len(servers):.2f} % of a core for each process"
    if postgres is not None:
        idle += f", {(_queries(postgres) - queries) / IDLE:.1f} transactions a second"
    lines.append(idle)
    took = float(await asyncio.to_thread(project.shell, _writer()))
    total = 20 + TIMED + BURST
    await asyncio.gather(
        *(page.until(lambda p=page: len(p.data) >= total) for page in pages)
    )
    for page in pages:
        await page.__aexit__()
    timed = sorted(1_000 * t for page in pages for t in page.ages[20 : 20 + TIMED])
    p50, p99 = statistics.median(timed), timed[int(0.99 * len(timed))]
    lines.append(
        f"from before the save to the page: p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    )
    last = max(page.ages[-1] for page in pages)
    lines.append(
        f"{BURST:,} saves in a row: {BURST / took:,.0f} a second, the last one "
        f"{1_000 * last:.0f} ms later on the page; "
        f"gaps {sum(p.gaps for p in pages)}, doubled {sum(p.doubled for p in pages)}"
    )
    return lines


def _writer() -> str:
    return WRITER.format(timed=TIMED, burst=BURST)


def _queries(postgres: Postgres | None) -> float:
    """Return how many transactions the server has ended."""
    if postgres is None:
        return 0
    with psycopg.connect(postgres.dsn("site"), autocommit=True) as connection:
        row = connection.execute(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database "
            "WHERE datname = 'site'"
        ).fetchone()
    assert row is not None
    return float(row[0])


def main() -> None:
    """Measure the kinds that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=KINDS, metavar="KIND")
    for kind in parser.parse_args().kinds:
        print(f"--- {kind}", flush=True)
        for line in asyncio.run(measure(kind)):
            print(line, flush=True)


if __name__ == "__main__":
    main()
