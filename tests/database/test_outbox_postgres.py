"""The outbox on PostgreSQL, where a failed statement ends a transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from django.core.management import call_command
from django.db import OperationalError, ProgrammingError, connections, transaction
from django.db.models.signals import post_save
from pytest_django import DjangoDbBlocker

from tests.database.conftest import Outbox, retried
from tests.database.relays import at_once
from tests.support.databases import another_database
from tests.support.listening import Listen
from tests.support.servers import Postgres
from tests.testapp.models import Message, Room, Sheet
from turbo.database.models import OutboxEntry
from turbo.database.outbox import relay, tracking

ALIAS = "outbox"


@pytest.fixture(scope="module")
def database(postgres: Postgres, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    settings = postgres.create("outbox")
    with django_db_blocker.unblock(), another_database(ALIAS, settings):
        yield


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


def test_three_relays_tell_each_row_once(everything: Outbox, listen: Listen) -> None:
    heard = listen(Room)
    everything.die()
    for number in range(60):
        Room.objects.using(ALIAS).create(name=str(number))
    tracking.shut_down()
    everything.age(ALIAS)

    counts = at_once(lambda tracker: relay.tell_left(ALIAS, tracker))

    names: list[Any] = [change.instance.name for change in retried(heard)]
    assert sorted(names, key=int) == [str(number) for number in range(60)]
    assert sum(counts) == 60
    assert not OutboxEntry.objects.using(ALIAS).exists()


def test_a_connection_that_is_lost_before_the_commit_is_made_anew(
    everything: Outbox, listen: Listen, postgres: Postgres
) -> None:
    listen(Room)
    connection: Any = connections[ALIAS]

    @transaction.atomic(using=ALIAS)
    def save() -> None:
        Room.objects.using(ALIAS).create(name="a")
        with psycopg.connect(postgres.dsn(), autocommit=True) as other:
            pid = connection.connection.info.backend_pid
            other.execute("SELECT pg_terminate_backend(%s)", [pid])

    with pytest.raises(OperationalError):
        save()

    assert not Room.objects.using(ALIAS).exists()


def test_a_statement_that_failed_unseen_does_not_lose_a_save_unseen(
    everything: Outbox, listen: Listen
) -> None:
    def swallow(**kwargs: Any) -> None:
        with suppress(ProgrammingError), connections[ALIAS].cursor() as cursor:
            cursor.execute("SELECT * FROM no_such_table")

    heard = listen(Room)
    post_save.connect(swallow, sender=Room)
    try:
        with pytest.raises(transaction.TransactionManagementError, match="post_save"):
            Room.objects.using(ALIAS).create(name="a")
    finally:
        post_save.disconnect(swallow, sender=Room)

    assert list(heard) == []


def test_a_query_of_a_watch_that_fails_does_no_harm_to_the_save(
    everything: Outbox, listen: Listen
) -> None:
    """Regression: an error ends a transaction, which autocommit does not have."""

    def before(room: Room) -> None:
        with connections[ALIAS].cursor() as cursor:
            cursor.execute("SELECT no_such_column")

    room = Room.objects.using(ALIAS).create(name="a")
    heard = listen(Room, before=before)

    room.name = "b"
    room.save()

    assert Room.objects.using(ALIAS).get().name == "b"
    assert [change.before for change in heard] == [None]


def test_a_model_may_have_a_save_base_of_its_own(
    everything: Outbox, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more arguments than Django's, and by position."""
    given: list[object] = []
    own = Sheet.save_base

    def save_base(self: Sheet, *args: object, **kwargs: object) -> None:
        given.append(kwargs.pop("why", None))
        own(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Sheet, "save_base", save_base)
    heard = listen(Sheet)

    sheet = Sheet(title="a")
    sheet.save_base(False, True, False, ALIAS, why="because")
    sheet.save_base(using=None)

    assert given == ["because", None]
    assert [change.using for change in heard] == [ALIAS, ALIAS]
