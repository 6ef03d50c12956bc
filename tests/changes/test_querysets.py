"""Bulk operations, for which Django sends no signals: ``ChangesQuerySet``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F, Value
from django.db.models.functions import Concat
from django.test.utils import CaptureQueriesContext

from tests.support.listening import Listen, listening, rolled_back
from tests.testapp.models import (
    Child,
    CompositeItem,
    Message,
    Parent,
    ProxyRoom,
    Room,
    Sheet,
    UuidItem,
)
from turbo.changes import ChangesQuerySet, ModelChange, watch
from turbo.runtime import context

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@pytest.fixture
def listen() -> Iterator[Listen]:
    yield from listening()


@contextmanager
def reads(count: int) -> Iterator[None]:
    """Allow for this many queries beside those that write."""
    with CaptureQueriesContext(connection) as queries:
        yield
    statements = [query["sql"] for query in queries]
    assert sum(sql.startswith("SELECT") for sql in statements) == count, statements


def changes_of(model: Any) -> ChangesQuerySet[Any]:
    """The queryset that ``ChangesQuerySet.as_manager()`` would give this model."""
    return ChangesQuerySet(model)


def sheets(*titles: str, **options: Any) -> list[Sheet]:
    return [Sheet.objects.create(title=title, **options) for title in titles]


# --- update()


def test_update_tells_of_each_row_as_it_is_afterwards(listen: Listen) -> None:
    one, two = sheets("one", "two", count=1)
    sheets("untouched", count=5)
    heard = listen(Sheet)

    with reads(2):
        assert Sheet.objects.filter(count=1).update(count=F("count") + 1) == 2

    assert heard.actions == [("update", one.pk), ("update", two.pk)]
    assert [(c.update_fields, c.instance.count) for c in heard] == [({"count"}, 2)] * 2


def test_update_tells_after_the_commit_together_with_saves(listen: Listen) -> None:
    heard = listen(Sheet)

    with transaction.atomic():
        sheets("one")
        Sheet.objects.update(title="two")
        assert heard == []

    assert [(c.action, c.instance.title) for c in heard] == [("create", "two")]


def test_update_is_rolled_back_with_its_transaction(listen: Listen) -> None:
    sheets("one")
    heard = listen(Sheet)

    with rolled_back():
        Sheet.objects.update(count=2)

    assert heard == []


def test_update_finds_rows_that_no_longer_match_it(listen: Listen) -> None:
    (sheet,) = sheets("one")
    heard = listen(Sheet)

    Sheet.objects.filter(title="one").update(title="two")

    assert heard.actions == [("update", sheet.pk)]


def test_update_through_a_join_tells_of_each_row_once(listen: Listen) -> None:
    room = Room.objects.create(name="Lobby")
    for text in "ab":
        Message.objects.create(room=room, text=text)
    heard = listen(Room)

    changes_of(Room).filter(messages__text__in="ab").update(name="Hall")

    assert heard.actions == [("update", room.pk)]


def test_update_asks_before_about_the_rows_as_they_were(listen: Listen) -> None:
    sheets("one", "two")
    heard = listen(Sheet, before=lambda sheet: sheet.title)

    Sheet.objects.update(title=Concat(F("title"), Value("!")))

    assert [(c.before, c.instance.title) for c in heard] == [
        ("one", "one!"),
        ("two", "two!"),
    ]


def test_update_writes_and_reads_the_same_database(listen: Listen) -> None:
    Sheet.objects.using("other").create(title="one")
    heard = listen(Sheet)

    Sheet.objects.using("other").update(count=1)

    assert [(c.using, c.instance.count) for c in heard] == [("other", 1)]


def test_update_of_composite_and_uuid_keys(listen: Listen) -> None:
    for number in range(1200):  # more than SQLite takes in one query
        CompositeItem(tenant=1, number=number, name="one").save()
    item = UuidItem.objects.create(name="one")
    composite, uuids = listen(CompositeItem), listen(UuidItem)

    changes_of(CompositeItem).update(name="two")
    changes_of(UuidItem).update(name="two")

    assert composite.actions == [("update", (1, number)) for number in range(1200)]
    assert uuids.actions == [("update", item.pk)]


def test_update_through_a_proxy(listen: Listen) -> None:
    Room.objects.create(name="Lobby")
    heard = listen(Room)

    changes_of(ProxyRoom).update(name="Hall")

    assert [(c.model, type(c.instance)) for c in heard] == [(Room, ProxyRoom)]


def test_update_of_a_child_tells_the_parent_of_its_columns(listen: Listen) -> None:
    child = Child.objects.create(name="Ann", nickname="A")
    children, parents = listen(Child), listen(Parent)

    changes_of(Child).update(nickname="B")
    changes_of(Child).update(name="Bob")

    assert children.actions == [("update", child.pk)] * 2
    assert [(c.update_fields, c.instance.name) for c in parents] == [({"name"}, "Bob")]


def test_update_of_nothing(listen: Listen) -> None:
    heard = listen(Sheet)

    assert Sheet.objects.filter(title="none").update(count=1) == 0
    assert heard == []


@pytest.mark.parametrize("silent", ["unwatched", "suppressed"])
def test_update_costs_nothing_where_nobody_hears(listen: Listen, silent: str) -> None:
    sheets("one")
    if silent == "suppressed":
        listen(Sheet)

    with reads(0), context.suppress():
        Sheet.objects.update(count=1)


def test_update_of_a_locked_or_distinct_queryset(listen: Listen) -> None:
    sheets("one")
    heard = listen(Sheet)

    Sheet.objects.select_for_update().update(count=1)

    assert len(heard) == 1


def test_update_of_what_is_distinct_in_some_column(listen: Listen) -> None:
    sheets("one", "two")
    heard = listen(Sheet)
    some = Sheet.objects.distinct("count")

    try:
        some.update(count=1)
    except TypeError:  # from Django 6.1 on
        assert heard == []
    else:
        assert len(heard) == 2


def test_django_itself_refuses_what_cannot_be_updated(listen: Listen) -> None:
    listen(Sheet)

    with pytest.raises(TypeError, match="slice"):
        Sheet.objects.all()[:1].update(count=1)
    with pytest.raises(Exception, match=r"union"):
        Sheet.objects.union(Sheet.objects.all()).update(count=1)


# --- bulk_update()


def test_bulk_update_tells_of_each_object(listen: Listen) -> None:
    objs = sheets("one", "two")
    heard = listen(Sheet)

    for obj in objs:
        obj.count = F("count") + 7
    with reads(0):
        assert Sheet.objects.bulk_update(iter(objs), iter(["count"]), batch_size=1) == 2

    assert [(c.pk, c.update_fields, c.instance.count) for c in heard] == [
        (obj.pk, {"count"}, 7) for obj in objs
    ]


def test_bulk_update_tells_only_of_what_is_there(listen: Listen) -> None:
    one, two = sheets("one", "two")
    Sheet.objects.filter(pk=one.pk)._raw_delete("default")
    heard = listen(Sheet)

    assert Sheet.objects.bulk_update([one, two], ["count"]) == 1

    assert heard.actions == [("update", two.pk)]


def test_bulk_update_of_objects_whose_key_is_text(listen: Listen) -> None:
    item = UuidItem.objects.create(name="one")
    heard = listen(UuidItem, before=lambda row: row.name)

    changes_of(UuidItem).bulk_update([UuidItem(id=str(item.pk), name="two")], ["name"])

    assert [(c.pk, c.before, c.instance.name) for c in heard] == [
        (item.pk, "one", "two")
    ]


def test_bulk_update_asks_before_about_the_rows_as_they_were(listen: Listen) -> None:
    (sheet,) = sheets("one")
    heard = listen(Sheet, before=lambda row: row.title)

    sheet.title = "two"
    Sheet.objects.bulk_update([sheet], ["title"])

    assert [(c.before, c.instance.title) for c in heard] == [("one", "two")]


def test_bulk_update_of_an_unwatched_model() -> None:
    objs = sheets("one")

    with reads(0):
        Sheet.objects.bulk_update(objs, ["count"])


# --- bulk_create()


def test_bulk_create_tells_of_each_object(listen: Listen) -> None:
    heard = listen(Sheet)

    with reads(0):
        made = Sheet.objects.bulk_create(Sheet(title=title) for title in ("one", "two"))

    assert heard.actions == [("create", sheet.pk) for sheet in made]
    assert [(c.instance.title, c.update_fields) for c in heard] == [
        ("one", None),
        ("two", None),
    ]


def test_bulk_create_of_nothing(listen: Listen) -> None:
    heard = listen(Sheet)

    assert Sheet.objects.bulk_create([]) == []
    assert Sheet.objects.bulk_create([], ignore_conflicts=True) == []
    assert heard == []


def test_bulk_create_that_ignores_conflicts_tells_of_new_objects_with_keys(
    listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    old = UuidItem.objects.create(name="old")
    new = UuidItem(name="new")
    heard = listen(UuidItem)
    listen(Sheet)

    changes_of(UuidItem).bulk_create(
        [UuidItem(id=str(old.pk), name="ignored"), new], ignore_conflicts=True
    )
    Sheet.objects.bulk_create([Sheet(title="one")], ignore_conflicts=True)

    assert heard.actions == [("create", new.pk)]
    assert caplog.messages == [
        "1 of 1 testapp.Sheet rows are not announced: the database did not return "
        "their keys."
    ]


def test_bulk_create_that_updates_conflicts_tells_which_were_there(
    listen: Listen,
) -> None:
    (old,) = sheets("old", count=1)
    heard = listen(Sheet, before=lambda sheet: sheet.count)

    made = Sheet.objects.bulk_create(
        [Sheet(title="old", count=2, data={"not": "written"}), Sheet(title="new")],
        update_conflicts=True,
        unique_fields=["title"],
        update_fields=["count"],
    )

    assert [(c.action, c.pk, c.before, c.update_fields) for c in heard] == [
        ("update", old.pk, 1, {"count"}),
        ("create", made[1].pk, None, None),
    ]
    assert (heard[0].instance.count, heard[0].instance.data) == (2, {})


def test_bulk_create_that_updates_conflicts_by_key(listen: Listen) -> None:
    old = UuidItem.objects.create(name="old")
    new = [UuidItem(name="new") for _ in range(250)]  # looked for in batches
    heard = listen(UuidItem)

    changes_of(UuidItem).bulk_create(
        [UuidItem(id=str(old.pk), name="newer"), *new],
        update_conflicts=True,
        unique_fields=["pk"],
        update_fields=["name"],
    )

    expected = [("update", old.pk), *(("create", item.pk) for item in new)]
    assert heard.actions == expected
    assert heard[0].instance.name == "newer"


def test_bulk_create_of_an_unwatched_model() -> None:
    with reads(0):
        Sheet.objects.bulk_create([Sheet(title="one")], ignore_conflicts=True)


# --- Async, and as a manager


async def test_the_async_twins_are_heard(listen: Listen) -> None:
    heard = listen(Sheet)

    (sheet,) = await Sheet.objects.abulk_create([Sheet(title="one")])
    await Sheet.objects.abulk_update([sheet], ["count"])
    await Sheet.objects.aupdate(count=3)

    assert [action for action, _ in heard.actions] == ["create", "update", "update"]


def test_related_managers_are_heard_too(listen: Listen) -> None:
    sheets("one")
    heard = listen(Sheet)

    Sheet.objects.filter(title="one").delete()

    assert [action for action, _ in heard.actions] == ["delete"]
    assert connection.run_on_commit == []


def test_a_failing_before_does_not_stop_the_update(listen: Listen) -> None:
    sheets("one")

    def fail(row: Any) -> None:
        raise RuntimeError

    heard = listen(Sheet, before=fail)

    assert Sheet.objects.update(count=1) == 1
    assert [c.before for c in heard] == [None]


# --- Hooks of one row that change another one


def bulk_create() -> None:
    Sheet.objects.bulk_create([Sheet(title="one"), Sheet(title="two")])


def update() -> None:
    sheets("one", "two", count=1)
    Sheet.objects.update(count=2)


def bulk_update() -> None:
    rows = sheets("one", "two", count=1)
    for row in rows:
        row.count = 2
    Sheet.objects.bulk_update(rows, ["count"])


@pytest.mark.parametrize("change", [bulk_create, update, bulk_update])
def test_the_state_before_a_hook_does_not_follow_the_one_after_it(
    listen: Listen, change: Callable[[], None]
) -> None:
    def delete(change: ModelChange) -> None:
        if change.instance.title == "one" and change.instance.count != 1:
            Sheet.objects.get(title="two").delete()

    watching = watch(Sheet, delete)
    heard = listen(Sheet)
    change()
    watching.stop()

    told = [c.action for c in heard if c.instance.title == "two"]
    assert told in ([], ["create", "delete"])
