"""A log that may have lost messages begins a new epoch, and says so."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.db import DatabaseError, connections
from pytest_django import DjangoDbBlocker

from tests.settings import sqlite_database
from tests.support.databases import an_alias, empty
from tests.support.replay_backends import moment_after, position, read_one, send, texts
from tests.support.servers import Postgres
from turbo.database.replay import DatabaseReplay
from turbo.replay import Append

ROOM = "z7r3l7mdrbvujpqa35bauqyha7"

TABLES = "turbo_database_logstream", "turbo_database_logmessage"
COPY = [f"CREATE TEMPORARY TABLE {t}_copy AS SELECT * FROM {t}" for t in TABLES]
RESTORE = [
    statement
    for t in TABLES
    for statement in (f"TRUNCATE {t}", f"INSERT INTO {t} SELECT * FROM {t}_copy")
]


@pytest_asyncio.fixture
async def log(alias: str) -> AsyncIterator[DatabaseReplay]:
    log = DatabaseReplay(alias=alias)
    await log.sync_clock()
    yield log
    await log.aclose()


async def test_tables_that_were_emptied_prove_nothing(
    alias: str, log: DatabaseReplay
) -> None:
    """Regression: an empty table must not look like a stream without messages."""
    since, moment = await position(log, ROOM), await moment_after(log, ROOM)
    await send(log, ROOM, "a", "b")

    await sync_to_async(empty)(alias)
    await send(log, ROOM, "c")

    for place in (since, moment):
        assert not (await read_one(log, ROOM, place)).complete
    assert await position(log, ROOM) != since.replace(":0", ":1")


async def test_what_was_sent_before_the_loss_is_stored_as_a_gap(
    alias: str, log: DatabaseReplay
) -> None:
    """Nobody knows whether an attempt before it had succeeded."""
    batch = [Append(ROOM, "a")]
    long_ago = [floor - 6_000_000 for floor in log._clocks.floors()]
    log._attempts.fail(log._attempts.begin(batch, lambda: long_ago))
    await sync_to_async(empty)(alias)

    [place] = await log.append(batch)

    assert place.is_gap
    await log.append([Append(ROOM, "b")])
    assert texts(await read_one(log, ROOM, f"{place.epoch}:0")) == [None, "b"]


@pytest.mark.parametrize("alias", ["postgres"], indirect=True)
async def test_tables_that_were_restored_begin_anew(
    alias: str, log: DatabaseReplay, postgres: Postgres
) -> None:
    """The numbers after a backup would be given a second time."""
    await send(log, ROOM, "a")
    with psycopg.connect(postgres.dsn("tables")) as connection:
        for statement in COPY:
            connection.execute(statement)
        connection.commit()
        await send(log, ROOM, "b")
        since = await position(log, ROOM)
        for statement in RESTORE:
            connection.execute(statement)

    await send(log, ROOM, "c")

    assert not (await read_one(log, ROOM, since)).complete
    epoch = (await position(log, ROOM)).split(":")[0]
    assert texts(await read_one(log, ROOM, f"{epoch}:0")) == ["c"]


@pytest.mark.slow
@pytest.mark.parametrize("alias", ["postgres"], indirect=True)
async def test_a_replica_that_takes_over_begins_anew(
    alias: str,
    log: DatabaseReplay,
    postgres: Postgres,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may not have got the last messages, and would give their numbers again."""
    await send(log, ROOM, "a")
    with postgres.standby() as standby:
        await send(log, ROOM, "b")
        since = await position(log, ROOM)
        await log.aclose()
        monkeypatch.setitem(connections.settings[alias], "HOST", standby.host)
        with pytest.raises(DatabaseError, match="read-only"):
            await send(log, ROOM, "c")

        await asyncio.to_thread(standby.control, "promote")
        await send(log, ROOM, "c")

        assert not (await read_one(log, ROOM, since)).complete
        epoch = (await position(log, ROOM)).split(":")[0]
        assert texts(await read_one(log, ROOM, f"{epoch}:0")) == ["c"]
        await log.aclose()


@pytest.fixture
def own_file(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[Path]:
    """The file of the database ``own``."""
    path = tmp_path / "own.sqlite3"
    with django_db_blocker.unblock(), an_alias("own", sqlite_database(path)):
        call_command("migrate", database="own", run_syncdb=True, verbosity=0)
        yield path


async def test_a_file_that_was_restored_begins_anew(own_file: Path) -> None:
    log = DatabaseReplay(alias="own")
    await send(log, ROOM, "a")
    await log.aclose()
    backup = own_file.with_suffix(".copy")
    shutil.copy(own_file, backup)
    await send(log, ROOM, "b")
    since = await position(log, ROOM)
    await log.aclose()

    backup.replace(own_file)
    await send(log, ROOM, "c")

    assert not (await read_one(log, ROOM, since)).complete
    await log.aclose()


async def test_a_clock_that_was_set_back_proves_nothing(
    alias: str, log: DatabaseReplay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own clock jumps here, which looks the same from the log's side."""
    before = log.moment()
    own = log._monotonic
    log._monotonic = lambda: own() + 10_000_000  # type: ignore[method-assign]

    await log.sync_clock()
    await log.sync_clock()

    assert log.moment().partition(".")[2] != before.partition(".")[2]
    assert not (await read_one(log, ROOM, before)).complete
