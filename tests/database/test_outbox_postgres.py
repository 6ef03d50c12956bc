"""The outbox on PostgreSQL, where a failed statement ends a transaction."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import ProgrammingError, connections, transaction
from pytest_django import DjangoDbBlocker

from tests.database.conftest import Outbox, retried
from tests.support.listening import Listen
from tests.support.servers import PATIENCE, Postgres
from tests.testapp.models import Message, Room
from turbo.database.models import OutboxEntry
from turbo.database.outbox import relay, tracking

ALIAS = "outbox"


@pytest.fixture(scope="module")
def database(postgres: Postgres, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    settings = {"default": postgres.create("outbox")}
    connections.settings[ALIAS] = connections.configure_settings(settings)["default"]
    with django_db_blocker.unblock():
        call_command("migrate", database=ALIAS, run_syncdb=True, verbosity=0)
        yield
        connections[ALIAS].close()
        del connections[ALIAS]
    del connections.settings[ALIAS]


@pytest.fixture(autouse=True)
def _empty(database: None, everything: Outbox) -> Iterator[None]:
    yield
    tracking.shut_down()
    call_command("flush", database=ALIAS, interactive=False, verbosity=0)


def test_a_row_has_the_id_of_its_transaction(
    everything: Outbox, listen: Listen
) -> None:
    listen(Room)
    everything.die()

    with transaction.atomic(using=ALIAS):
        Room.objects.using(ALIAS).create(name="a")
        with connections[ALIAS].cursor() as cursor:
            cursor.execute("SELECT pg_current_xact_id()::text")
            [xid] = cursor.fetchone()

    [entry] = everything.rows(ALIAS)
    assert entry.xid == xid


def test_a_row_that_cannot_be_written_leaves_the_save(
    everything: Outbox, listen: Listen
) -> None:
    heard = listen(Room)
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("ALTER TABLE turbo_database_outboxentry RENAME owner TO other")
    try:
        Room.objects.using(ALIAS).create(name="a")
    finally:
        with connections[ALIAS].cursor() as cursor:
            cursor.execute(
                "ALTER TABLE turbo_database_outboxentry RENAME other TO owner"
            )

    assert [change.instance.name for change in heard] == ["a"]
    assert Room.objects.using(ALIAS).get().name == "a"


def test_a_refused_autocommit_writes_nothing(
    everything: Outbox, listen: Listen
) -> None:
    listen(Room)
    everything.die()

    transaction.set_autocommit(False, using=ALIAS)
    Room.objects.using(ALIAS).create(name="a")
    with pytest.raises(ProgrammingError):
        transaction.set_autocommit(True, using=ALIAS)
    transaction.commit(using=ALIAS)
    transaction.set_autocommit(True, using=ALIAS)

    assert len(everything.rows(ALIAS)) == 1


def test_a_cascade_is_told_again(everything: Outbox, listen: Listen) -> None:
    heard = listen(Message, before=lambda message: message.text)
    room = Room.objects.using(ALIAS).create(name="Lobby")
    Message.objects.using(ALIAS).create(room=room, text="hello")
    everything.die()
    room.delete()

    everything.tell(ALIAS)

    [change] = retried(heard)
    assert (change.before, change.instance.room.name) == ("hello", "Lobby")


def test_two_relays_tell_each_row_once(everything: Outbox, listen: Listen) -> None:
    heard = listen(Room)
    everything.die()
    for number in range(60):
        Room.objects.using(ALIAS).create(name=str(number))
    tracking.shut_down()
    everything.age(ALIAS)
    counts: list[int] = []
    start = threading.Barrier(3)

    def work() -> None:
        tracker = tracking.Tracker()  # as another process has
        start.wait(PATIENCE)
        try:
            counts.append(relay.tell_left(ALIAS, tracker))
            assert tracker.finish(PATIENCE)
        finally:
            tracker.stop()
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    names: list[Any] = [change.instance.name for change in retried(heard)]
    assert sorted(names, key=int) == [str(number) for number in range(60)]
    assert sum(counts) == 60
    assert not OutboxEntry.objects.using(ALIAS).exists()
