"""The same promises where several transactions are open at a time: PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from django.core.management import call_command
from django.db import IntegrityError, ProgrammingError, connections, transaction
from pytest_django import DjangoDbBlocker

from tests.support.databases import another_database
from tests.support.listening import Listen, listening, rolled_back
from tests.support.servers import PATIENCE, Postgres
from tests.testapp.models import Room, Sheet, Tag, Tagged

ALIAS = "changes"


@pytest.fixture
def listen() -> Iterator[Listen]:
    yield from listening()


@pytest.fixture(scope="module")
def database(postgres: Postgres, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    settings = postgres.create("changes")
    with django_db_blocker.unblock(), another_database(ALIAS, settings):
        yield


@pytest.fixture(autouse=True)
def _empty(database: None) -> Iterator[None]:
    yield
    call_command("flush", database=ALIAS, interactive=False, verbosity=0)


def test_a_failed_statement_in_a_savepoint_leaves_the_rest(listen: Listen) -> None:
    heard = listen(Sheet, before=lambda sheet: sheet.title)
    objects = Sheet.objects.using(ALIAS)

    with transaction.atomic(using=ALIAS):
        sheet = objects.create(title="one")
        with suppress(IntegrityError), transaction.atomic(using=ALIAS):
            sheet.title = "dropped"
            sheet.save()
            objects.create(title="dropped")
        objects.create(title="two")

    assert [(c.action, c.instance.title, c.using) for c in heard] == [
        ("create", "one", ALIAS),
        ("create", "two", ALIAS),
    ]


def test_autocommit_cannot_be_switched_on_in_a_transaction(listen: Listen) -> None:
    heard = listen(Room)

    transaction.set_autocommit(False, using=ALIAS)
    Room.objects.using(ALIAS).create(name="dropped")
    with pytest.raises(ProgrammingError):
        transaction.set_autocommit(True, using=ALIAS)
    assert heard == []
    transaction.rollback(using=ALIAS)
    transaction.set_autocommit(True, using=ALIAS)

    assert heard == []


def test_two_open_transactions_do_not_mix(listen: Listen) -> None:
    heard = listen(Room)
    opened, saved = threading.Event(), threading.Event()

    def work() -> None:
        try:
            with transaction.atomic(using=ALIAS):
                assert opened.wait(PATIENCE)
                Room.objects.using(ALIAS).create(name="thread").save()
                saved.set()
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    with rolled_back(using=ALIAS):
        Room.objects.using(ALIAS).create(name="dropped")
        opened.set()
        assert saved.wait(PATIENCE)
        Room.objects.using(ALIAS).create(name="dropped")
    thread.join()

    assert [(c.action, c.instance.name) for c in heard] == [("create", "thread")]


def test_bulk_operations(listen: Listen) -> None:
    heard = listen(Sheet, before=lambda sheet: sheet.count)
    objects = Sheet.objects.using(ALIAS)

    objects.bulk_create([Sheet(title="one"), Sheet(title="two")])
    objects.bulk_create(
        [Sheet(title="two", count=2), Sheet(title="three")],
        update_conflicts=True,
        unique_fields=["title"],
        update_fields=["count"],
    )
    with transaction.atomic(using=ALIAS):
        objects.select_for_update().filter(count=2).update(count=3)

    assert [(c.action, c.instance.title, c.before) for c in heard] == [
        ("create", "one", None),
        ("create", "two", None),
        ("update", "two", 0),
        ("create", "three", None),
        ("update", "two", 2),
    ]
    assert heard[-1].instance.doubled == 6


def test_relations(listen: Listen) -> None:
    tagged = Tagged.objects.using(ALIAS).create(name="one")
    tag = Tag.objects.using(ALIAS).create(name="red")
    heard = listen(Tagged)

    tagged.tags.add(tag)
    tag.tagged.clear()
    tagged.tags.set([tag])
    tag.delete()

    assert [(c.action, c.update_fields) for c in heard] == [("update", {"tags"})] * 4
