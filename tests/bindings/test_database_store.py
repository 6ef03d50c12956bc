"""The store in the database: what it keeps, what it costs, and who may be at it."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import pytest
from django.db import connections
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from tests.bindings.app.models import Product
from tests.bindings.conftest import DATABASE, Bind, empty_store
from tests.settings import sqlite_database
from tests.support.databases import an_alias
from tests.support.servers import wait_until
from turbo.bindings.cache.outage import is_reachable
from turbo.bindings.cache.reading import forget_copies
from turbo.bindings.store import Applied, Read, Row, Slot, Store, get_store
from turbo.bindings.store.memory import MemoryStore
from turbo.database.models import StoreChange, StoreRow, StoreSlot
from turbo.database.store import DatabaseStore
from turbo.database.thread import TablesMissing
from turbo.delivery.broadcast import shut_down

SLOT = Slot("shop:Products", "8f3c")

MakeStore = Callable[..., DatabaseStore]


@pytest.fixture(params=["sqlite", "postgres"])
def alias(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each kind of database, with empty tables."""
    alias: str = request.getfixturevalue(f"in_{request.param}")
    empty_store(alias)
    yield alias
    connections[alias].close()


@pytest.fixture
def make_store(alias: str) -> Iterator[MakeStore]:
    made: list[DatabaseStore] = []

    def make(**options: Any) -> DatabaseStore:
        made.append(DatabaseStore(alias=alias, **options))
        return made[-1]

    yield make
    for store in made:
        store.close()


def fill(store: Store, *rows: Row, slot: Slot = SLOT) -> None:
    ticket = store.begin(slot, alone=True)
    assert ticket is not None
    store.replace(slot, ticket, rows)


def numbered(pk: int, *, value: int = 0, key: int | None = None) -> Row:
    return Row(str(pk), f"{pk if key is None else key:06d}", f'{{"v":{value}}}')


def write(store: Store, pk: str, row: Row | None) -> Applied:
    [ticket] = store.take([SLOT], pk)
    assert ticket is not None
    [applied] = store.apply([(SLOT, ticket, Read(pk, row))])
    assert applied is not None
    return applied


def values(store: Store) -> dict[str, str]:
    contents = store.read(SLOT)
    assert contents is not None
    return dict(contents.rows)


def at_once(
    work: Callable[[int, DatabaseStore], None], stores: list[DatabaseStore]
) -> list[BaseException]:
    """Let each store work in a thread of its own, and return what has failed."""
    failed: list[BaseException] = []

    def attempt(number: int, store: DatabaseStore) -> None:
        try:
            work(number, store)
        except BaseException as error:
            failed.append(error)

    threads = [
        threading.Thread(target=attempt, args=args) for args in enumerate(stores)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


def test_many_rows_have_the_places_that_they_have_in_memory(
    make_store: MakeStore, alias: str
) -> None:
    """Also where they come and go, so that the spans in which they count change."""
    random, stores = Random(7), [make_store(span=3), MemoryStore()]
    start = [numbered(pk, key=random.randrange(50)) for pk in range(40)]
    for store in stores:
        fill(store, *start)

    for step in range(300):
        pk = random.randrange(60)
        row = numbered(pk, value=step, key=random.randrange(50))
        given = row if random.random() < 0.6 else None
        found = [write(store, str(pk), given).changes for store in stores]
        assert found[0] == found[1]

    contents = [store.read(SLOT) for store in stores]
    assert contents[0] is not None
    assert contents[1] is not None
    assert contents[0].rows == contents[1].rows
    spans = json.loads(StoreSlot.objects.using(alias).get().spans)
    assert sum(length for _, length in spans) == len(contents[0].rows)
    assert max(length for _, length in spans) <= 6


def test_any_character_survives(make_store: MakeStore) -> None:
    """NUL, which PostgreSQL keeps in no text, and a lone surrogate, and their order."""
    store = make_store()
    keys = ["", "\0", "\0\0", "\1", "\1\2", " ", "A", "a", "b", "ä", "\ud800", "😀"]
    rows = [Row(f'"{key}"', key, f'"{key}{key}"') for key in keys]

    fill(store, *reversed(rows))

    assert list(values(store).items()) == [(row.pk, row.value) for row in rows]
    write(store, '"\0"', Row('"\0"', "z\0", '"\ud800"'))
    found = store.row(SLOT, '"\0"')
    assert found is not None
    assert found[1] == '"\ud800"'


def test_a_key_that_is_too_long_to_sort_by_is_refused(make_store: MakeStore) -> None:
    store = make_store()

    with pytest.raises(ValueError, match="has 401 bytes"):
        fill(store, Row("1", "k" * 399, "{}"))

    assert store.peek(SLOT) is None


def test_what_nobody_uses_is_deleted_when_something_is_filled(
    make_store: MakeStore, alias: str
) -> None:
    store = make_store(age=600)
    for name in ("read", "left"):
        fill(store, numbered(1), slot=Slot("shop:Products", name))
    StoreSlot.objects.using(alias).update(used=0)
    store.peek(Slot("shop:Products", "read"))

    fill(store, numbered(1), numbered(2))

    assert store.names([SLOT.group]) == [["8f3c", "read"]]
    assert StoreRow.objects.using(alias).count() == 3


def test_a_deleted_row_leaves_nothing(make_store: MakeStore, alias: str) -> None:
    """It is remembered only while a ticket is out under which it may have been read."""
    store = make_store()
    fill(store, *map(numbered, range(5)))
    [early] = store.take([SLOT], "4")
    assert early is not None

    for pk in ("0", "1", "2"):
        write(store, pk, None)
    remembered = StoreRow.objects.using(alias).count()
    store.apply([(SLOT, early, Read("4", None))])
    write(store, "4", None)
    write(store, "3", None)

    assert remembered == 5
    assert StoreRow.objects.using(alias).count() == 0


def test_the_log_of_changes_does_not_grow(make_store: MakeStore, alias: str) -> None:
    store = make_store(length=20)
    fill(store, numbered(1))

    for value in range(1, 61):
        write(store, "1", numbered(1, value=value))

    assert 20 <= StoreChange.objects.using(alias).count() <= 22


def test_clear_leaves_nothing(make_store: MakeStore, alias: str) -> None:
    store = make_store()
    fill(store, numbered(1))
    write(store, "1", numbered(1, value=1))

    store.clear(SLOT)

    for model in (StoreSlot, StoreRow, StoreChange):
        assert not model._default_manager.using(alias).exists()


def test_a_change_costs_the_same_however_many_rows_there_are(
    make_store: MakeStore, alias: str
) -> None:
    """In statements, and in rows that are counted; what is filled again is not read."""
    store = make_store(span=10)

    def statements(rows: int) -> list[str]:
        store.clear(SLOT)
        fill(store, *map(numbered, range(rows)))
        write(store, "7", numbered(7, value=1))
        connection: Any = store._thread.run(lambda: connections[alias])
        connection.force_debug_cursor = True
        connection.queries_log.clear()
        write(store, str(rows - 1), numbered(rows - 1, value=1))
        connection.force_debug_cursor = False
        return [query["sql"].partition(" ")[0] for query in connection.queries_log]

    few, many = statements(10), statements(1_000)

    assert few == many
    assert len(many) <= 15
    lengths = json.loads(StoreSlot.objects.using(alias).get().spans)
    assert max(length for _, length in lengths) == 10


def test_writers_wait_for_each_other(make_store: MakeStore) -> None:
    """None of them is refused because another writes, and no write is lost."""
    stores = [make_store() for _ in range(4)]
    fill(stores[0], *map(numbered, range(4)))

    def work(pk: int, store: DatabaseStore) -> None:
        for value in range(1, 26):
            write(store, str(pk), numbered(pk, value=value))

    failed = at_once(work, stores)

    assert failed == []
    assert values(stores[0]) == {str(pk): '{"v":25}' for pk in range(4)}
    state = stores[0].peek(SLOT)
    assert state is not None
    assert state.version.number == 101


def test_a_slot_is_made_by_one_and_may_be_deleted_by_another(
    make_store: MakeStore,
) -> None:
    """Whoever is asked to fill it has a ticket of the slot that is there."""
    stores = [make_store() for _ in range(4)]
    given: list[Any] = []

    def work(number: int, store: DatabaseStore) -> None:
        for _ in range(20):
            given.append(store.begin(SLOT, alone=True))
            if number == 0:
                store.clear(SLOT)

    failed = at_once(work, stores)

    assert failed == []
    epochs = [ticket.epoch for ticket in given if ticket is not None]
    assert 1 <= len(epochs) == len(set(epochs)) <= 21


def test_a_reader_gets_the_rows_of_the_version(make_store: MakeStore) -> None:
    """Though somebody writes between its queries."""
    writer, reader = make_store(), make_store()
    fill(writer, numbered(1, value=1), numbered(2))
    done = threading.Event()

    def work() -> None:
        for value in range(2, 150):
            write(writer, "1", numbered(1, value=value))
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    wrong = []
    while not done.is_set():
        contents, row = reader.read(SLOT), reader.row(SLOT, "1")
        assert contents is not None
        assert row is not None
        pairs = [(contents.state, dict(contents.rows)["1"]), row]
        wrong += [
            (state.version.number, value)
            for state, value in pairs
            if value != f'{{"v":{state.version.number}}}'
        ]
    thread.join()

    assert wrong == []


def test_what_another_server_has_kept_is_forgotten(
    make_store: MakeStore, alias: str
) -> None:
    """A backup, or a replica that was promoted, may be older than what was told."""
    store = make_store()
    fill(store, numbered(1))
    before = store.peek(SLOT)
    assert before is not None
    [ticket] = store.take([SLOT], "1")
    assert ticket is not None

    StoreSlot.objects.using(alias).update(data="those of another server")

    assert store.peek(SLOT) is None
    assert store.read(SLOT) is None
    assert store.apply([(SLOT, ticket, Read("1", None))]) == [None]
    fill(store, numbered(1))
    after = store.peek(SLOT)
    assert after is not None
    assert after.version.epoch != before.version.epoch
    assert StoreRow.objects.using(alias).count() == 1


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_saves_and_reads_go_on_while_its_tables_are_away(
    bind: Bind, caplog: pytest.LogCaptureFixture
) -> None:
    """One line when it begins, one when it is over."""
    caplog.set_level(logging.INFO, "turbo.bindings")
    settings = {"DATABASE": "other", "BINDINGS": {"BACKEND": DATABASE}}
    here, away = StoreSlot._meta.db_table, "elsewhere"

    def rename(old: str, new: str) -> None:
        with connections["other"].cursor() as cursor:
            cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")

    def names() -> list[str]:
        return [product.name for product in binding.all().values()]

    with override_settings(TURBO=settings), closing(get_store()):
        binding = bind(Product)()
        binding.all()
        rename(here, away)
        try:
            for name in ("Tea", "Milk"):
                Product.objects.create(name=name)
            during = names()
            version = binding.version
        finally:
            rename(away, here)
        wait_until(is_reachable)

        assert (during, version) == (["Tea", "Milk"], "")
        assert names() == during
        assert binding.version != ""
        assert [r.levelname for r in caplog.records if r.name == "turbo.bindings"] == [
            "ERROR",
            "WARNING",
        ]
        shut_down()
    forget_copies()


def test_without_tables_there_are_no_slots(
    tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> None:
    """The first migration of a site must not say that something is out of reach."""
    file = sqlite_database(tmp_path / "bare.sqlite3")
    with (
        django_db_blocker.unblock(),
        an_alias("bare", file),
        closing(DatabaseStore(alias="bare")) as store,
    ):
        assert store.names(["shop:Products", "shop:Others"]) == [[], []]
        with pytest.raises(TablesMissing):
            store.peek(SLOT)
