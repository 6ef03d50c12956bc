"""The log in the database: what it costs, and that nothing in it grows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from django.apps import apps
from django.db import OperationalError, connections

from tests.settings import sqlite_database
from tests.support.databases import an_alias
from tests.support.replay_backends import position, read_one, send, texts
from turbo.database.log.texts import sweep_texts
from turbo.database.models import (
    ALL,
    LeaseMember,
    LogBatch,
    LogKey,
    LogMessage,
    LogStream,
    LogText,
)
from turbo.database.replay import DatabaseReplay
from turbo.replay import Append
from turbo.replay.leases import Known, Lease
from turbo.replay.texts import Put, TextPlace

ROOM = "z7r3l7mdrbvujpqa35bauqyha7"


@pytest_asyncio.fixture
async def log(alias: str) -> AsyncIterator[DatabaseReplay]:
    """A log of three messages a stream, which has asked what it asks once."""
    log = DatabaseReplay(alias=alias, length=3)
    await log.sync_clock()
    yield log
    await log.aclose()


async def statements(
    log: DatabaseReplay, alias: str, work: Awaitable[Any]
) -> list[str]:
    """Return the statements of the log, without those that begin and end."""

    def begin() -> None:
        connections[alias].force_debug_cursor = True
        connections[alias].queries_log.clear()

    await log._thread.arun(begin)
    await work
    found = await log._thread.arun(lambda: connections[alias].queries)
    ends = ("BEGIN", "COMMIT", "SET TRANSACTION")
    return [q["sql"] for q in found if not q["sql"].startswith(ends)]


def messages(count: int, sid: str = "") -> list[Append]:
    return [
        Append(sid or f"stream-{n}", "x" * 100, f"k{n}", "me") for n in range(count)
    ]


async def test_a_batch_costs_a_number_of_statements_and_not_each_message(
    alias: str, log: DatabaseReplay
) -> None:
    await log.append(messages(250))

    one = await statements(log, alias, log.append(messages(1)))
    many = await statements(log, alias, log.append(messages(250)))

    assert len(one) <= 8
    assert len(many) <= len(one) + 4  # no statement has all the parameters


async def test_streams_are_read_together(alias: str, log: DatabaseReplay) -> None:
    await log.append(messages(50))
    requests = [(f"stream-{n}", log.moment()) for n in range(50)]

    assert len(await statements(log, alias, log.read(requests))) <= 3
    sids = [sid for sid, _ in requests]
    assert len(await statements(log, alias, log.tips(sids))) <= 2


async def test_what_is_too_old_is_deleted(alias: str) -> None:
    """All of it: messages, streams, batches, claims and revocations."""
    log = DatabaseReplay(alias=alias, age=1e-6, memory=0)
    log._tables.keep = -1
    await log.append(messages(150))
    await log.claim("a", seconds=0)
    await log.forbid(["b"], seconds=0)

    log._swept -= 3_600_000_000
    await log.sync_clock()
    log._swept -= 3_600_000_000
    await log.sync_clock()

    for model in (LogBatch, LogKey, LogMessage, LogStream):
        assert await model.objects.using(alias).acount() == 0, model
    await log.aclose()


async def test_a_deletion_leaves_what_is_not_too_old(
    alias: str, log: DatabaseReplay
) -> None:
    since = await position(log, ROOM)
    await send(log, ROOM, "a", "b")

    log._swept -= 3_600_000_000
    await log.sync_clock()

    assert texts(await read_one(log, ROOM, since)) == ["a", "b"]


async def test_a_message_is_kept_no_longer_than_the_length(
    alias: str, log: DatabaseReplay
) -> None:
    await log.append(messages(20, ROOM))

    assert await LogMessage.objects.using(alias).acount() == 3


async def test_two_sites_may_share_the_tables(alias: str, log: DatabaseReplay) -> None:
    """Each has its own streams, claims and revocations."""
    other = DatabaseReplay(alias=alias, prefix="other")
    since = await position(other, ROOM)
    await send(log, ROOM, "a")
    await log.claim("key", seconds=600)
    await log.forbid(["ann"], seconds=600)

    assert texts(await read_one(other, ROOM, since)) == []
    assert await other.claim("key", seconds=600) == 0
    assert await other.forbidden(["ann"]) == [None]
    await other.aclose()


async def test_tables_that_are_missing_are_named(
    tmp_path: Path, sqlite_tables: None
) -> None:
    """Whoever forgot to migrate reads what to do, not the name of a table."""
    with an_alias("bare", sqlite_database(tmp_path / "bare.sqlite3")):
        log = DatabaseReplay(alias="bare")
        with pytest.raises(
            OperationalError, match=r"manage.py migrate --database bare"
        ):
            await log.read([(ROOM, "")])
        await log.aclose()


def test_every_table_is_emptied_by_the_tests() -> None:
    """What is kept for one test is not seen by the next."""
    assert set(apps.get_app_config("turbo_database").get_models()) == set(ALL)


async def test_texts_that_are_too_old_are_deleted(alias: str) -> None:
    old, new = (DatabaseReplay(alias=alias, text_age=age) for age in (0.0, 60.0))
    for number, log in enumerate([old, new]):
        put = Put(TextPlace(ROOM, f"answer-{number}"), "one", 0, 0, "abc", 3)
        await log.texts.put([put])

    await new._thread.arun(sweep_texts, new._tables)

    count = LogText.objects.using(alias).count
    assert await new._thread.arun(count) == 1
    await old.aclose()
    await new.aclose()


async def test_leases_that_nobody_looked_for_are_deleted(
    log: DatabaseReplay, alias: str
) -> None:
    """A site that ended with people in its rooms leaves them for a day."""
    rows = LeaseMember.objects.using(alias)
    await log.leases.look({})
    held = [Lease(ROOM, "ann", 60.0), Lease(ROOM, "bob", 60.0)]
    await log.leases.hold("one", held)
    await log._thread.arun(lambda: rows.filter(member="bob").update(until=1))

    log._swept -= 3_600_000_000
    await log.sync_clock()

    left = await log._thread.arun(lambda: list(rows.values_list("member", flat=True)))
    assert left == ["ann"]


async def test_a_look_that_finds_nothing_writes_nothing(
    log: DatabaseReplay, alias: str
) -> None:
    """Each process looks once a second."""
    known: Known = {}
    await log.leases.look(known)

    made = await statements(log, alias, log.leases.look(known))

    assert [sql for sql in made if not sql.startswith("SELECT")] == []
