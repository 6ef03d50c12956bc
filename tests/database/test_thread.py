"""The thread that does the work of this app with a connection of its own."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator

import psycopg
import pytest
from django.db import connections, transaction

from tests.support.servers import PATIENCE, Postgres
from turbo.database.models import LogKey
from turbo.database.thread import DatabaseThread

#: The other one does not find out before we do.
OTHER = "SET deadlock_timeout = '60s'"
LOCK = "SELECT FROM turbo_database_logkey WHERE key = %s FOR UPDATE"


@pytest.fixture
def thread(alias: str) -> Iterator[DatabaseThread]:
    thread = DatabaseThread("test", alias)
    yield thread
    thread.close()


def test_work_is_done_in_order(thread: DatabaseThread) -> None:
    done: list[int] = []

    async def work() -> None:
        await asyncio.gather(*(thread.arun(done.append, n) for n in range(5)))

    asyncio.run(work())
    thread.run(done.append, 5)

    assert done == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("alias", ["sqlite"], indirect=True)
def test_a_thread_that_did_not_start_is_started_later(
    thread: DatabaseThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError, match="start"):
            thread.run(int)

    assert thread.run(int) == 0


@pytest.mark.parametrize("alias", ["postgres"], indirect=True)
def test_transactions_read_what_is_committed_whatever_the_server_prefers(
    alias: str, thread: DatabaseThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"options": r"-c default_transaction_isolation=repeatable\ read"}
    monkeypatch.setitem(connections.settings[alias], "OPTIONS", options)

    def level() -> str:
        with transaction.atomic(alias), connections[alias].cursor() as cursor:
            cursor.execute("SHOW transaction_isolation")
            return str(cursor.fetchone()[0])

    assert thread.run(level) == "read committed"


def test_an_exception_is_the_callers_and_the_next_work_connects_anew(
    alias: str, thread: DatabaseThread
) -> None:
    def fail() -> None:
        connections[alias].set_autocommit(False)
        raise LookupError("no such thing")

    with pytest.raises(LookupError, match="no such thing"):
        thread.run(fail)

    assert thread.run(lambda: connections[alias].get_autocommit())


@pytest.mark.parametrize("alias", ["postgres"], indirect=True)
def test_it_takes_no_part_in_the_transaction_of_its_caller(
    alias: str, thread: DatabaseThread
) -> None:
    with transaction.atomic(using=alias):
        thread.run(lambda: LogKey.objects.using(alias).create(key="a", until=0))
        transaction.set_rollback(True, using=alias)

    assert LogKey.objects.using(alias).count() == 1


def test_it_ends_with_its_owner(alias: str) -> None:
    thread: DatabaseThread | None = DatabaseThread("ending", alias)
    assert thread is not None
    thread.run(LogKey.objects.using(alias).count)
    [running] = [t for t in threading.enumerate() if t.name == "ending"]

    thread = None
    gc.collect()
    running.join(PATIENCE)

    assert not running.is_alive()


@pytest.mark.slow
@pytest.mark.parametrize("alias", ["postgres"], indirect=True)
def test_a_deadlock_is_tried_again(
    alias: str, thread: DatabaseThread, postgres: Postgres
) -> None:
    """It may be the other transaction that ends, or ours."""
    for key in "ab":
        LogKey.objects.using(alias).create(key=key, until=0)
    attempts: list[str] = []
    has_first, has_second = threading.Event(), threading.Event()

    def lock(key: str) -> None:
        list(LogKey.objects.using(alias).select_for_update().filter(key=key))

    def work() -> str:
        with transaction.atomic(using=alias):
            attempts.append("")
            lock("a")
            has_first.set()
            has_second.wait(PATIENCE)
            lock("b")
        return "done"

    def other() -> None:
        with psycopg.connect(postgres.dsn("tables")) as connection:
            connection.execute(OTHER)
            has_first.wait(PATIENCE)
            connection.execute(LOCK, ["b"])
            has_second.set()
            connection.execute(LOCK, ["a"])

    another = threading.Thread(target=other)
    another.start()

    assert thread.run(work) == "done"
    another.join()
    assert len(attempts) == 2
