"""What PostgreSQL has noted is told: each change once, with a signal or without."""

from __future__ import annotations

import datetime
import decimal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections, transaction

import turbo
from tests.bindings.app.models import Everything
from tests.database.conftest import CAPTURING, Capturing
from tests.support.listening import Listen, rolled_back
from tests.support.servers import PATIENCE, Postgres
from tests.testapp.models import (
    Card,
    Child,
    CompositeItem,
    Message,
    Parent,
    ProxyRoom,
    Room,
    Sheet,
    Tag,
    Tagged,
    UuidItem,
)
from turbo.changes import captured
from turbo.database.captured import triggers

pytestmark = pytest.mark.processes


def rooms(*names: str) -> list[Room]:
    """Rooms that are there before anything is captured."""
    return [Room.objects.using(CAPTURING).create(name=name) for name in names]


# --- Without a signal


def test_raw_statements_are_told(capture: Capturing, listen: Listen) -> None:
    heard = listen(Room)
    capture(Room)

    capture.sql("INSERT INTO testapp_room (id, name, public) VALUES (7, 'a', true)")
    capture.tell()
    capture.sql("UPDATE testapp_room SET name = 'b'")
    capture.tell()
    capture.sql("DELETE FROM testapp_room")
    capture.tell()

    assert heard.actions == [("create", 7), ("update", 7), ("delete", 7)]
    assert [change.instance.name for change in heard] == ["a", "b", "b"]
    assert {(c.using, c.update_fields, c.retried) for c in heard} == {
        (CAPTURING, None, False)
    }


def test_each_row_of_many_is_told_once(capture: Capturing, listen: Listen) -> None:
    capture(Room)
    heard = listen(Room)

    with connections[CAPTURING].cursor() as cursor:
        copy = "COPY testapp_room (id, name, public) FROM STDIN"
        with cursor.copy(copy) as rows:
            for number in range(10_000):
                rows.write_row((number, str(number), True))
    capture.tell()
    assert heard.actions == [("create", number) for number in range(10_000)]
    heard.clear()
    capture.sql("UPDATE testapp_room SET public = false")
    capture.tell()

    assert sorted(heard.actions) == [("update", number) for number in range(10_000)]


def test_a_statement_without_rows_writes_nothing(capture: Capturing) -> None:
    capture(Room)

    capture.sql("UPDATE testapp_room SET name = 'b'")
    capture.sql("DELETE FROM testapp_room")
    capture.sql("INSERT INTO testapp_room (name, public) SELECT 'a', true WHERE false")

    assert capture.statements() == []


@contextmanager
def cascading(capture: Capturing) -> Iterator[None]:
    """Let the database itself delete the messages of a deleted room."""
    with connections[CAPTURING].cursor() as cursor:
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid = "
            "'testapp_message'::regclass AND confrelid = 'testapp_room'::regclass"
        )
        [(name,)] = cursor.fetchall()
    change = (
        f"ALTER TABLE testapp_message DROP CONSTRAINT {name}, ADD CONSTRAINT {name} "
        f"FOREIGN KEY (room_id) REFERENCES testapp_room"
    )
    capture.sql(f"{change} ON DELETE CASCADE")
    try:
        yield
    finally:
        capture.sql(f"{change} DEFERRABLE INITIALLY DEFERRED")


def test_a_cascade_of_the_database_is_told(capture: Capturing, listen: Listen) -> None:
    """With the row that a hook needs to find the pages that showed it."""
    lobby, cellar = rooms("Lobby", "Cellar")
    with turbo.suppress():
        for room in (lobby, lobby, cellar):
            Message.objects.using(CAPTURING).create(room=room, text=room.name)
    capture(Room, Message)
    heard = listen(Message)

    with cascading(capture):
        capture.sql("DELETE FROM testapp_room WHERE name = 'Lobby'")
    capture.tell()

    assert [change.action for change in heard] == ["delete", "delete"]
    assert [change.instance.room.name for change in heard] == ["Lobby", "Lobby"]


def test_rows_that_lose_their_reference_are_told(
    capture: Capturing, listen: Listen
) -> None:
    """Django changes them without a signal when it deletes the other row."""
    [room] = rooms("a")
    user = User.objects.using(CAPTURING).create(username="ann")
    message = Message.objects.using(CAPTURING).create(room=room, author=user)
    capture(Message)
    heard = listen(Message)

    user.delete()
    capture.tell()

    assert heard.actions == [("update", message.pk)]
    assert heard[0].instance.author_id is None


def test_querysets_without_signals_are_told(capture: Capturing, listen: Listen) -> None:
    capture(Room)
    heard = listen(Room)

    made = Room.objects.using(CAPTURING).bulk_create([Room(name="a"), Room(name="b")])
    capture.tell()
    Room.objects.using(CAPTURING).filter(name="a").update(name="c")
    capture.tell()

    first, second = (room.pk for room in made)
    assert heard.actions == [("create", first), ("create", second), ("update", first)]


def test_another_program_is_told_of(
    capture: Capturing, listen: Listen, postgres: Postgres
) -> None:
    """It needs neither Django nor an open process of the site."""
    capture(Room)
    heard = listen(Room)

    dsn = postgres.dsn("capturing")
    code = (
        "import psycopg, sys\n"
        "with psycopg.connect(sys.argv[1]) as connection:\n"
        '    connection.execute("INSERT INTO testapp_room (name, public) VALUES '
        "('a', true), ('b', true)\")"
    )
    subprocess.run([sys.executable, "-c", code, dsn], check=True, timeout=PATIENCE)
    capture.tell()

    assert [change.instance.name for change in heard] == ["a", "b"]


# --- One change for each row


def test_what_was_rolled_back_is_not_told(capture: Capturing, listen: Listen) -> None:
    [room] = rooms("a")
    capture(Room)
    heard = listen(Room)

    with rolled_back(CAPTURING):
        capture.sql("UPDATE testapp_room SET name = 'b'")
    with transaction.atomic(using=CAPTURING):
        with rolled_back(CAPTURING):
            capture.sql("UPDATE testapp_room SET name = 'c'")
            room.save()
        capture.sql("UPDATE testapp_room SET public = false")
    capture.tell()

    assert heard.actions == [("update", room.pk)]


def test_statements_of_one_transaction_are_one_change(
    capture: Capturing, listen: Listen
) -> None:
    [room] = rooms("a")
    capture(Room)
    heard = listen(Room)

    with transaction.atomic(using=CAPTURING):
        capture.sql("UPDATE testapp_room SET name = 'b'")
        capture.sql("UPDATE testapp_room SET name = 'c'")
        capture.sql("INSERT INTO testapp_room (id, name, public) VALUES (50, '', true)")
        capture.sql("UPDATE testapp_room SET name = 'd' WHERE id = 50")
        capture.sql("INSERT INTO testapp_room (id, name, public) VALUES (51, '', true)")
        capture.sql("DELETE FROM testapp_room WHERE id = 51")
    capture.tell()

    assert heard.actions == [("update", room.pk), ("create", 50)]


def test_a_write_that_is_gone_is_not_told(capture: Capturing, listen: Listen) -> None:
    [room] = rooms("a")
    capture(Room)
    heard = listen(Room)

    capture.sql("UPDATE testapp_room SET name = 'b'")
    capture.sql("DELETE FROM testapp_room")
    capture.tell()

    assert heard.actions == [("delete", room.pk)]


# --- With signals


def test_a_commit_by_hand_counts_signals(capture: Capturing, listen: Listen) -> None:
    capture(Room)
    heard = listen(Room)

    transaction.set_autocommit(False, using=CAPTURING)
    room = Room.objects.using(CAPTURING).create(name="a")
    transaction.commit(using=CAPTURING)
    transaction.set_autocommit(True, using=CAPTURING)
    capture.tell()

    assert heard.actions == [("create", room.pk)]


def write_with_signals(using: str) -> None:
    room = Room.objects.using(using).create(name="a")
    room.save()
    Room.objects.using(using).get_or_create(name="b")
    Room.objects.using(using).filter(name="b").delete()
    room.delete()


def test_what_signals_tell_is_told_once(capture: Capturing, listen: Listen) -> None:
    capture(Room)
    heard = listen(Room)

    write_with_signals(CAPTURING)
    capture.tell()

    assert [change.action for change in heard] == [
        "create",
        "update",
        "create",
        "delete",
        "delete",
    ]


def test_bulk_operations_with_changes_are_told_once(
    capture: Capturing, listen: Listen
) -> None:
    capture(Card)
    heard = listen(Card)
    cards = Card.objects.using(CAPTURING)

    made = cards.bulk_create([Card(title="a"), Card(title="b")])
    cards.update(title="c")
    cards.bulk_update(made, ["title"])
    cards.filter(pk=made[0].pk).delete()
    capture.tell()

    first, second = (card.pk for card in made)
    both = [("update", first), ("update", second)]
    assert heard.actions == [
        ("create", first),
        ("create", second),
        *both,
        *both,
        ("delete", first),
    ]


@pytest.mark.parametrize("is_one", [True, False])
def test_a_save_and_an_update_of_one_row_are_two_changes(
    is_one: bool, capture: Capturing, listen: Listen
) -> None:
    [room] = rooms("a")
    capture(Room)
    heard = listen(Room)

    with transaction.atomic(using=CAPTURING) if is_one else nullcontext():
        room.name = "b"
        room.save()
        Room.objects.using(CAPTURING).update(name="c")
    capture.tell()

    assert heard.actions == [("update", room.pk)] * 2
    assert [change.instance.name for change in heard] == ["b", "c"]


def test_an_announced_change_is_told_once(capture: Capturing, listen: Listen) -> None:
    [room] = rooms("a")
    capture(Room)
    heard = listen(Room)

    with transaction.atomic(using=CAPTURING):
        capture.sql("UPDATE testapp_room SET name = 'b'")
        turbo.announce(room)
    capture.tell()

    assert heard.actions == [("update", room.pk)]


def test_a_change_of_a_relation_stands_for_no_statement(
    capture: Capturing, listen: Listen
) -> None:
    with turbo.suppress():
        tagged = Tagged.objects.using(CAPTURING).create(name="a")
        tag = Tag.objects.using(CAPTURING).create(name="t")
    capture(Tagged)
    heard = listen(Tagged)

    with transaction.atomic(using=CAPTURING):
        tagged.tags.add(tag)
        capture.sql("UPDATE testapp_tagged SET name = 'b'")
    capture.tell()

    assert [change.update_fields for change in heard] == [{"tags"}, None]


def test_suppressed_changes_are_not_told(capture: Capturing, listen: Listen) -> None:
    capture(Room, Card)
    heard, cards = listen(Room), listen(Card)

    with turbo.suppress():
        write_with_signals(CAPTURING)
        made = Card.objects.using(CAPTURING).bulk_create([Card(title="a")])
        Card.objects.using(CAPTURING).update(title="b")
        Card.objects.using(CAPTURING).bulk_update(made, ["title"])
    capture.tell()

    assert (heard, cards) == ([], [])


def test_a_fixture_is_not_told(
    capture: Capturing, listen: Listen, tmp_path: Path
) -> None:
    capture(Child)
    heard = listen(Child)
    fixture = tmp_path / "children.json"
    fixture.write_text(
        """[
        {"model": "testapp.parent", "pk": 1, "fields": {"name": "a"}},
        {"model": "testapp.child", "pk": 1, "fields": {"nickname": "b"}}
        ]"""
    )

    call_command("loaddata", fixture, database=CAPTURING, verbosity=0)
    capture.tell()

    assert heard == []


def test_a_process_without_watches_leaves_all_to_the_relay(
    capture: Capturing, listen: Listen
) -> None:
    capture(Room)

    room = Room.objects.using(CAPTURING).create(name="a")
    heard = listen(Room)
    capture.tell()

    assert heard.actions == [("create", room.pk)]


# --- Kinds of models


def test_keys_of_all_kinds_are_told(capture: Capturing, listen: Listen) -> None:
    capture(UuidItem, CompositeItem)
    items, composites = listen(UuidItem), listen(CompositeItem)

    item = UuidItem.objects.using(CAPTURING).create(name="a")
    CompositeItem.objects.using(CAPTURING).create(tenant=1, number=2, name="a")
    capture.sql("UPDATE testapp_uuiditem SET name = 'b'")
    capture.sql("UPDATE testapp_compositeitem SET name = 'b'")
    capture.tell()

    assert items.actions == [("create", item.pk), ("update", item.pk)]
    assert composites.actions == [("create", (1, 2)), ("update", (1, 2))]


def test_a_changed_key_is_many_changes(capture: Capturing, listen: Listen) -> None:
    rooms("a")
    capture(Room)
    many: list[str] = []
    heard = listen(Room, many=many.append)

    capture.sql("UPDATE testapp_room SET id = id + 100")
    capture.tell()

    assert (heard, many) == ([], [CAPTURING])


def test_rows_too_large_for_json_are_many_changes(capture: Capturing) -> None:
    [room] = rooms("a")
    capture(Message)
    capture.sql(
        "INSERT INTO testapp_message (room_id, text, edited) "
        "SELECT %s, repeat('x', 1000000), false FROM generate_series(1, 300)",
        room.pk,
    )

    capture.sql("DELETE FROM testapp_message")

    last = capture.statements()[-1]
    assert (last.operation, last.content, last.count) == ("delete", None, 300)


def test_a_deleted_row_has_its_columns(capture: Capturing, listen: Listen) -> None:
    with turbo.suppress():
        Sheet.objects.using(CAPTURING).create(
            title="a", count=2, data={"a": [1.5, None]}, file="f"
        )
    capture(Sheet)
    heard = listen(Sheet)

    capture.sql("DELETE FROM testapp_sheet")
    capture.tell()

    [change] = heard
    sheet = change.instance
    assert (sheet.title, sheet.count, sheet.doubled) == ("a", 2, 4)
    assert (sheet.data, sheet.file.name) == ({"a": [1.5, None]}, "f")


def test_a_deleted_row_has_values_of_all_kinds(
    capture: Capturing, listen: Listen
) -> None:
    values = {
        "big": 2**62,
        "binary": bytes(range(100)),
        "boolean": True,
        "decimal": decimal.Decimal("123456789012345.12345"),
        "duration": -datetime.timedelta(days=400, hours=1, microseconds=5),
        "ip": "::1",
        "json": {"a": [1, None, "ü"]},
        "time": datetime.time(1, 2, 3, 4),
    }
    made = Everything.objects.using(CAPTURING).create(**values)
    stored = Everything.objects.using(CAPTURING).get()
    capture(Everything)
    heard = listen(Everything)

    capture.sql("DELETE FROM bindings_app_everything")
    capture.tell()

    [change] = heard
    assert change.pk == made.pk
    assert model_to_values(change.instance) == model_to_values(stored)


def model_to_values(instance: Any) -> dict[str, Any]:
    fields = instance._meta.concrete_fields
    values = {field.attname: getattr(instance, field.attname) for field in fields}
    return values | {"binary": bytes(values["binary"])}


def test_before_an_update_only_the_places_are_known(
    capture: Capturing, listen: Listen
) -> None:
    lobby, cellar = rooms("Lobby", "Cellar")
    with turbo.suppress():
        Message.objects.using(CAPTURING).create(room=lobby, text="a")
    capture(Message)
    heard = listen(Message, before=lambda row: row.room_id, reads=["room"])

    capture.sql("UPDATE testapp_message SET room_id = %s", cellar.pk)
    capture.sql("UPDATE testapp_message SET room_id = %s", lobby.pk)
    capture.tell()

    assert [change.before for change in heard] == [lobby.pk, cellar.pk]


def test_a_proxy_stands_for_its_model(capture: Capturing, listen: Listen) -> None:
    """Its app gets the migration, though the model was captured first."""
    captured.capture(Room)
    capture(ProxyRoom)
    heard = listen(Room)

    capture.sql("INSERT INTO testapp_room (name, public) VALUES ('a', true)")
    capture.tell()

    assert [made.cls for made in triggers.registered()] == [ProxyRoom]
    assert [change.instance.name for change in heard] == ["a"]


class TestParents:
    """A child with a table of its own."""

    @pytest.mark.parametrize("watched", [[Child], [Parent, Child]])
    def test_signals_are_told_once(
        self, watched: list[Any], capture: Capturing, listen: Listen
    ) -> None:
        capture(Child)
        lists = [listen(model) for model in watched]

        child = Child.objects.using(CAPTURING).create(name="a", nickname="b")
        child.save()
        child.save(update_fields=["name"])
        child.save(update_fields=["nickname"])
        Child.objects.using(CAPTURING).get().delete()
        capture.tell()

        heard = dict(zip(watched, lists, strict=True))
        updates = ["update"] * 3
        actions = [change.action for change in heard[Child]]
        assert actions == ["create", *updates, "delete"]
        if Parent in heard:
            actions = [change.action for change in heard[Parent]]
            assert actions == ["create", *updates[1:], "delete"]

    def test_statements_are_told(self, capture: Capturing, listen: Listen) -> None:
        with turbo.suppress():
            child = Child.objects.using(CAPTURING).create(name="a", nickname="b")
        capture(Child)
        heard, parents = listen(Child), listen(Parent)

        Child.objects.using(CAPTURING).update(name="c")
        capture.tell()
        with transaction.atomic(using=CAPTURING):
            Child.objects.using(CAPTURING).update(name="d", nickname="e")
        capture.tell()
        with transaction.atomic(using=CAPTURING):
            capture.sql("DELETE FROM testapp_child")
            capture.sql("DELETE FROM testapp_parent")
        capture.tell()

        actions = [("update", child.pk), ("update", child.pk), ("delete", child.pk)]
        assert (heard.actions, parents.actions) == (actions, actions)
        assert (heard[-1].instance.name, heard[-1].instance.nickname) == ("d", "e")


def test_partitions(capture: Capturing, listen: Listen) -> None:
    """A statement on the table is noted, wherever its rows are."""
    capture(Room)
    heard = listen(Room)
    connection = connections[CAPTURING]
    columns = "id bigint, name varchar(100), public boolean"
    connection.cursor().execute("ALTER TABLE testapp_room RENAME TO testapp_kept")
    try:
        capture.sql(f"CREATE TABLE testapp_room ({columns}) PARTITION BY LIST (public)")
        for part in ("true", "false"):
            capture.sql(
                f"CREATE TABLE testapp_room_{part} PARTITION OF testapp_room "
                f"FOR VALUES IN ({part})"
            )
        for trigger in triggers.registered()[0].triggers:
            trigger.install(Room, database=CAPTURING)
        capture.sql("INSERT INTO testapp_room VALUES (1, 'a', true), (2, 'b', false)")
        capture.sql("UPDATE testapp_room SET public = NOT public")
        capture.tell()
        # A statement on a partition is not one on the table.
        capture.sql("UPDATE testapp_room_true SET name = 'c'")
        capture.tell()
    finally:
        capture.sql("DROP TABLE testapp_room")
        capture.sql("ALTER TABLE testapp_kept RENAME TO testapp_room")

    both = [("create", 1), ("create", 2)]
    assert sorted(heard.actions) == [*both, ("update", 1), ("update", 2)]
