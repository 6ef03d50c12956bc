"""Who tells what was noted, in any number of processes, and what may go wrong."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
import pytest
from django.db import connections, transaction

import turbo
from tests.database.conftest import CAPTURING, Capturing, Outbox
from tests.database.relays import at_once
from tests.support.listening import Heard, Listen, Undo
from tests.support.servers import PATIENCE, Postgres
from tests.testapp.models import Card, Message, Room, Sheet
from turbo.changes import ModelChange, watch
from turbo.database.captured import relay
from turbo.database.captured.remainder import Statement, remainder
from turbo.database.models import CapturedStatement
from turbo.database.outbox import tracking, writing
from turbo.delivery.recorders import recording

pytestmark = pytest.mark.processes


def insert(capture: Capturing, count: int = 1, *, first: int = 1) -> None:
    capture.sql(
        "INSERT INTO testapp_room (id, name, public) SELECT n, n::text, true "
        "FROM generate_series(%s, %s) AS n",
        first,
        first + count - 1,
    )


def test_a_thread_looks_for_them(capture: Capturing) -> None:
    capture(Room)
    heard = threading.Event()
    watching = watch(Room, lambda change: heard.set())

    try:
        relay.start()
        insert(capture)
        assert heard.wait(PATIENCE)
    finally:
        relay.rounds.stop()
        watching.stop()
    assert tracking.get_tracker().finish(PATIENCE)


def test_without_captured_models_nobody_looks(capture: Capturing) -> None:
    relay.start()

    assert not relay.rounds.is_running


def test_a_process_that_begins_before_the_migration_looks_after_it(
    capture: Capturing, monkeypatch: pytest.MonkeyPatch
) -> None:
    capture(Room)
    found = dict.fromkeys(connections, time.monotonic())
    monkeypatch.setattr(writing, "_missing", found)

    relay.start()

    assert relay.rounds.is_running


def test_a_look_ends_while_others_write(capture: Capturing) -> None:
    """Regression: with a steady writer it never did."""
    capture(Room)
    told: list[int] = []

    def write_on(change: ModelChange[Room]) -> None:
        told.append(change.pk)
        insert(capture, first=change.pk + 1)

    watching = watch(Room, write_on)
    try:
        insert(capture)
        assert relay.tell_captured(CAPTURING) == 1
    finally:
        watching.stop()

    assert told == [1]
    assert capture.tell() == 1


def test_three_relays_tell_each_row_once(capture: Capturing, listen: Listen) -> None:
    capture(Room)
    heard = listen(Room)
    for number in range(1, 601):
        insert(capture, first=number)

    def look(tracker: tracking.Tracker) -> None:
        while CapturedStatement.objects.using(CAPTURING).exists():
            relay.tell_captured(CAPTURING, tracker)

    at_once(look)

    assert sorted(heard.actions) == [("create", n) for n in range(1, 601)]


def test_what_a_killed_relay_has_taken_is_told_by_another(
    capture: Capturing, listen: Listen, outbox: Outbox
) -> None:
    capture(Room)
    heard = listen(Room)
    insert(capture, 2)

    killed = tracking.Tracker()
    killed.stop()
    relay.take(CAPTURING, killed)  # and no more
    assert heard == []
    assert capture.statements() == []
    outbox.tell(CAPTURING)

    assert heard.actions == [("create", 1), ("create", 2)]
    assert {change.retried for change in heard} == {True}


def test_writers_and_relays_at_once(capture: Capturing, listen: Listen) -> None:
    """Whatever they do together, each change is told once."""
    capture(Room)
    heard = listen(Room)
    expected: Counter[tuple[str, Any]] = Counter()
    done = threading.Event()
    start = threading.Barrier(4)

    def in_thread(work: Callable[[], None]) -> threading.Thread:
        def closing() -> None:
            try:
                start.wait(PATIENCE)
                work()
            finally:
                connections.close_all()

        thread = threading.Thread(target=closing)
        thread.start()
        return thread

    def write() -> None:
        rooms = Room.objects.using(CAPTURING)
        for number in range(60):
            with suppress(Undo), transaction.atomic(using=CAPTURING):
                room = rooms.create(name="a")
                changes = [("create", room.pk)]
                if number % 3:
                    rooms.filter(pk=room.pk).update(name="b")
                    changes.append(("update", room.pk))
                if number % 7 == 0:
                    raise Undo
                expected.update(changes)

    def tell() -> None:
        tracker = tracking.Tracker()  # as another process has
        while not done.is_set() or CapturedStatement.objects.using(CAPTURING).exists():
            relay.tell_captured(CAPTURING, tracker)
        assert tracker.finish(PATIENCE)
        tracker.stop()

    writers = [in_thread(write) for _ in range(2)]
    relays = [in_thread(tell) for _ in range(2)]
    for thread in writers:
        thread.join()
    done.set()
    for thread in relays:
        thread.join()

    assert Counter(heard.actions) == expected


def test_a_relay_leaves_what_another_one_is_taking(
    capture: Capturing, listen: Listen
) -> None:
    capture(Room)
    heard = listen(Room)
    insert(capture)

    with psycopg.connect(connections[CAPTURING].connection.info.dsn) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [relay.LOCK])
        assert relay.tell_captured(CAPTURING) == 0
        assert len(capture.statements()) == 1
    capture.tell()

    assert heard.actions == [("create", 1)]


def test_a_transaction_is_taken_as_a_whole(
    capture: Capturing, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it has more rows than are looked at, and others lie between them."""
    monkeypatch.setattr(relay, "BATCH", 2)
    capture(Room)
    heard = listen(Room)

    with transaction.atomic(using=CAPTURING):
        insert(capture, first=1)
        with psycopg.connect(connections[CAPTURING].connection.info.dsn) as other:
            other.execute("INSERT INTO testapp_room VALUES (9, 'a', true)")
        insert(capture, first=2)
        capture.sql("DELETE FROM testapp_room WHERE id = 1")
    capture.tell()

    assert sorted(heard.actions) == [("create", 2), ("create", 9)]


def test_a_failing_watcher_is_called_again(
    capture: Capturing, listen: Listen, outbox: Outbox
) -> None:
    capture(Room)
    heard = Heard()

    def fail_once(change: Any) -> None:
        heard.append(change)
        if not change.retried:
            raise ValueError("not yet")

    watching = watch(Room, fail_once)
    try:
        insert(capture)
        relay.tell_captured(CAPTURING)
        outbox.tell(CAPTURING)
    finally:
        watching.stop()

    assert heard.actions == [("create", 1)] * 2


def test_a_watcher_that_fails_for_many_is_called_again(
    capture: Capturing, outbox: Outbox
) -> None:
    capture(Room)
    many: list[str] = []

    def fail_once(using: str) -> None:
        many.append(using)
        if len(many) == 1:
            raise ValueError("not yet")

    watching = watch(Room, lambda change: None, many=fail_once)
    try:
        capture.sql("TRUNCATE testapp_room CASCADE")
        relay.tell_captured(CAPTURING)
        outbox.tell(CAPTURING)
    finally:
        watching.stop()

    assert many == [CAPTURING] * 2


# --- Too many to name


def test_too_many_rows_are_told_as_many(capture: Capturing, listen: Listen) -> None:
    capture(Room)
    many: list[str] = []
    heard = listen(Room, many=many.append)

    insert(capture, 10_001)
    capture.tell()
    with transaction.atomic(using=CAPTURING):
        capture.sql("UPDATE testapp_room SET name = 'a' WHERE id <= 6000")
        capture.sql("UPDATE testapp_room SET name = 'b' WHERE id > 6000")
        capture.sql("UPDATE testapp_room SET name = 'c' WHERE id <= 6000")
    capture.tell()
    capture.sql("TRUNCATE testapp_room CASCADE")
    capture.tell()

    assert (heard, many) == ([], [CAPTURING] * 3)


def test_many_rows_with_signals_are_told_by_them(
    capture: Capturing, listen: Listen
) -> None:
    capture(Card)
    many: list[str] = []
    heard = listen(Card, many=many.append)

    Card.objects.using(CAPTURING).bulk_create(
        Card(title=str(number)) for number in range(10_001)
    )
    capture.tell()

    assert (len(heard), many) == (10_001, [])


def test_many_rows_with_signals_and_one_without_are_many(
    capture: Capturing, listen: Listen
) -> None:
    capture(Card)
    many: list[str] = []
    listen(Card, many=many.append)

    with transaction.atomic(using=CAPTURING):
        made = Card.objects.using(CAPTURING).bulk_create(
            Card(title=str(number)) for number in range(10_001)
        )
        capture.sql("UPDATE testapp_card SET title = 'a' WHERE id = %s", made[0].pk)
    capture.tell()

    assert many == [CAPTURING]


# --- Faults


@contextmanager
def renamed(capture: Capturing, table: str) -> Iterator[None]:
    capture.sql(f"ALTER TABLE {table} RENAME TO {table}_away")
    try:
        yield
    finally:
        capture.sql(f"ALTER TABLE {table}_away RENAME TO {table}")


TABLE = "turbo_database_capturedstatement"


def look() -> None:
    """Be the thread of the relay, once."""
    relay.rounds.look_into(CAPTURING)


def test_without_the_table_saves_go_on(
    capture: Capturing, listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    capture(Room)
    heard = listen(Room)

    with renamed(capture, TABLE):
        room = Room.objects.using(CAPTURING).create(name="a")
        insert(capture, first=50)
        with caplog.at_level(logging.ERROR, "turbo.capture"):
            for _ in range(2):
                look()

    assert heard.actions == [("create", room.pk)]
    assert Room.objects.using(CAPTURING).count() == 2
    [record] = [r for r in caplog.records if r.name == "turbo.capture"]
    assert record.getMessage().endswith(
        "Run manage.py migrate turbo_database --database capturing."
    )


def test_a_relay_that_cannot_read_says_so_once(
    capture: Capturing, listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    capture(Room)
    heard = listen(Room)
    insert(capture)

    capture.sql(f"ALTER TABLE {TABLE} RENAME COLUMN xid TO other")
    try:
        with caplog.at_level(logging.WARNING, "turbo.capture"):
            look()
            look()
    finally:
        capture.sql(f"ALTER TABLE {TABLE} RENAME COLUMN other TO xid")
    with caplog.at_level(logging.WARNING, "turbo.capture"):
        look()
    assert tracking.get_tracker().finish(PATIENCE)

    down, up = (r.getMessage() for r in caplog.records if r.name == "turbo.capture")
    assert down.startswith("What was captured in 'capturing' cannot be read: ")
    assert up == "What was captured in 'capturing' is read again."
    assert heard.actions == [("create", 1)]


def test_a_user_without_the_right_is_warned(
    capture: Capturing, postgres: Postgres
) -> None:
    capture(Room)
    capture.sql("CREATE ROLE guest LOGIN")
    notices: list[str] = []
    try:
        capture.sql("GRANT INSERT ON testapp_room TO guest")
        with psycopg.connect(postgres.dsn("capturing")) as connection:
            connection.add_notice_handler(
                lambda notice: notices.append(notice.message_primary or "")
            )
            connection.execute("SET ROLE guest")
            connection.execute("INSERT INTO testapp_room VALUES (1, 'a', true)")
    finally:
        capture.sql("DROP OWNED BY guest")
        capture.sql("DROP ROLE guest")

    assert Room.objects.using(CAPTURING).get().name == "a"
    assert capture.statements() == []
    [notice] = notices
    assert notice.startswith("turbo cannot note a change of testapp_room: ")


def test_rows_of_an_unknown_model_are_dropped(
    capture: Capturing, caplog: pytest.LogCaptureFixture
) -> None:
    capture(Room)
    CapturedStatement.objects.using(CAPTURING).create(
        xid="1", model="gone.Model", operation="insert", content=[{"id": 1}], count=1
    )

    with caplog.at_level(logging.WARNING, "turbo.capture"):
        capture.tell()

    assert "A trigger notes changes of gone.Model, which is no model." in caplog.text


def test_rows_that_cannot_be_read_are_many(capture: Capturing, listen: Listen) -> None:
    """Nothing of a transaction is lost because this code does not understand it."""
    capture(Room)
    many: list[str] = []
    listen(Room, many=many.append)
    CapturedStatement.objects.using(CAPTURING).create(
        xid="1", model="testapp.Room", operation="insert", content=[{}], count=1
    )

    capture.tell()

    assert many == [CAPTURING]


def test_a_number_that_python_does_not_read_is_many(
    capture: Capturing, listen: Listen
) -> None:
    """Regression: nothing of the database was told any more."""
    capture(Room, Sheet)
    many: list[str] = []
    listen(Sheet, many=many.append)
    heard = listen(Room)
    Sheet.objects.using(CAPTURING).create(title="a")
    capture.sql("""UPDATE testapp_sheet SET data = '{"n": 1e5000}'""")
    capture.sql("DELETE FROM testapp_sheet")
    insert(capture)

    capture.tell()

    assert many == [CAPTURING]
    assert heard.actions == [("create", 1)]


def test_a_signal_without_a_statement_stands_for_no_delete() -> None:
    told = {"testapp.Room": {"rows": [[1, "update", 1]], "count": 1}}
    statements = [
        Statement("", "signals", told, 1),
        Statement("testapp.Room", "delete", [{"id": 1}], 1),
    ]

    content, count = remainder(statements, ())

    assert count == 1
    [item] = json.loads(content or "")["items"]
    assert (item["pk"], item["action"]) == (1, "delete")


def test_a_page_hears_in_the_order_of_the_commits(
    capture: Capturing, listen: Listen
) -> None:
    capture(Message)
    room = Room.objects.using(CAPTURING).create(name="a")
    sent: list[tuple[str, str]] = []

    def keep(name: str, data: str) -> bool:
        sent.append((name, data))
        return False

    with recording(keep):
        for text in ("one", "two", "three"):
            capture.sql(
                "INSERT INTO testapp_message (room_id, text, edited) "
                "VALUES (%s, %s, false)",
                room.pk,
                text,
            )
        capture.tell()

    assert {name for name, _ in sent} == {room.stream.stream_name}
    assert [
        next(word for word in ("one", "two", "three") if word in data)
        for _, data in sent
    ] == ["one", "two", "three"]
    assert turbo.flush()
