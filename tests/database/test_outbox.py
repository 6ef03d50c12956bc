"""What is written into the outbox, when, and that it goes when it was told."""

from __future__ import annotations

import contextlib
import json
import logging
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import (
    IntegrityError,
    OperationalError,
    connection,
    connections,
    transaction,
)
from django.db.models.signals import post_save
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoDbBlocker

from tests.database.conftest import Outbox
from tests.settings import sqlite_database
from tests.support.databases import another_database
from tests.support.listening import Listen, Undo, rolled_back
from tests.support.servers import PATIENCE, wait_until
from tests.testapp.models import (
    AbstractBase,
    Child,
    Concrete,
    Message,
    Parent,
    ProxyRoom,
    Room,
    Sheet,
    Tag,
    Tagged,
)
from turbo import announce, immediately, metrics, suppress
from turbo.changes import ModelChange, watch
from turbo.database import durable
from turbo.database.models import OutboxEntry
from turbo.database.outbox import relay, tracking
from turbo.delivery.broadcast import broadcast, get_publisher
from turbo.delivery.publisher_thread import PublisherThread

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


def items(entry: OutboxEntry) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(entry.content)["items"]
    return found


def told(outbox: Outbox, using: str = "default") -> list[list[tuple[str, str]]]:
    """Return the action and the model of each change, by transaction."""
    return [
        [(item["action"], item["model"]) for item in items(entry)]
        for entry in outbox.rows(using)
    ]


@contextmanager
def by_hand() -> Iterator[None]:
    transaction.set_autocommit(False)
    try:
        yield
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


# --- What is durable


def test_a_transaction_is_one_row(outbox: Outbox, listen: Listen) -> None:
    listen(Room)
    durable(Room)
    outbox.die()

    with transaction.atomic():
        Room.objects.create(name="one")
        room = Room.objects.create(name="two")
        room.save(update_fields=["name"])

    assert told(outbox) == [[("create", "testapp.room"), ("create", "testapp.room")]]


def test_the_setting_makes_all_watched_models_durable(
    everything: Outbox, listen: Listen
) -> None:
    listen(Room)
    everything.die()

    with transaction.atomic():
        Room.objects.create(name="watched")
        Tag.objects.create(name="not watched")

    assert told(everything) == [[("create", "testapp.room")]]


def test_what_is_not_durable_costs_no_query(outbox: Outbox, listen: Listen) -> None:
    listen(Room)

    with CaptureQueriesContext(connection) as queries:
        Room.objects.create(name="plain")

    assert [query["sql"].split()[0] for query in queries] == ["INSERT"]
    assert outbox.rows() == []


def test_what_is_durable_costs_one_insert_in_a_savepoint(
    everything: Outbox, listen: Listen
) -> None:
    listen(Room)
    everything.die()

    with CaptureQueriesContext(connection) as queries:
        Room.objects.create(name="durable")

    words = [query["sql"].split()[0] for query in queries]
    assert words == ["BEGIN", "INSERT", "SAVEPOINT", "INSERT", "RELEASE", "COMMIT"]


@pytest.mark.parametrize(
    ("model", "sender"),
    [(Parent, Child), (AbstractBase, Concrete), (ProxyRoom, Room), (Room, ProxyRoom)],
)
def test_relatives_of_a_durable_model(
    model: Any, sender: Any, outbox: Outbox, listen: Listen
) -> None:
    listen(model)
    durable(model)
    outbox.die()

    sender.objects.create(name="one")

    assert len(outbox.rows()) == 1


def test_a_stream_makes_its_model_durable(
    outbox: Outbox, declare: Callable[..., Any]
) -> None:
    options = {"model": Tag, "attribute": "durable", "app_label": "tests"}
    meta = type("Meta", (), {**options, "durable": True})
    hook = {"on_save": lambda self, tag, created: None}
    declare("DurableStream", Tag, attribute="durable", Meta=meta, **hook)
    outbox.die()

    Tag.objects.create(name="red")

    assert told(outbox) == [[("create", "testapp.tag")]]


# --- What is written


def test_a_change_is_what_the_transaction_amounts_to(
    everything: Outbox, listen: Listen
) -> None:
    listen(Room)
    room, gone = Room.objects.create(name="a"), Room.objects.create(name="b")
    everything.die()

    with transaction.atomic():
        room.save(update_fields=["name"])
        room.save(update_fields=["public"])
        Room.objects.create(name="c").delete()
        gone.save()
        gone_pk = gone.pk
        gone.delete()

    [entry] = everything.rows()
    assert json.loads(entry.content) == {
        "items": [
            {
                "model": "testapp.room",
                "pk": room.pk,
                "action": "update",
                "fields": ["name", "public"],
                "row": None,
                "before": None,
            },
            {
                "model": "testapp.room",
                "pk": gone_pk,
                "action": "delete",
                "fields": None,
                "row": 0,
                "before": None,
            },
        ],
        "rows": [
            {
                "model": "testapp.room",
                "columns": {"id": gone_pk, "name": "b", "public": True},
            }
        ],
    }


def test_a_deleted_row_has_those_that_were_deleted_with_it_once(
    everything: Outbox, listen: Listen
) -> None:
    listen(Message)
    room = Room.objects.create(name="a")
    for text in ("one", "two"):
        Message.objects.create(room=room, text=text)
    everything.die()

    room.delete()

    [entry] = everything.rows()
    rows = json.loads(entry.content)["rows"]
    assert [row["model"].partition(".")[2] for row in rows] == [
        "message",
        "room",
        "message",
    ]
    assert [row.get("related") for row in rows] == [{"room": 1}, None, {"room": 1}]


def test_what_was_rolled_back_is_not_written(
    everything: Outbox, listen: Listen
) -> None:
    listen(Room)
    everything.die()

    with transaction.atomic():
        with rolled_back():
            Room.objects.create(name="dropped")
        Room.objects.create(name="kept")
    with rolled_back():
        Room.objects.create(name="dropped")
    with transaction.atomic(), rolled_back():
        Room.objects.create(name="dropped")

    assert told(everything) == [[("create", "testapp.room")]]


def test_what_is_suppressed_is_not_written(everything: Outbox, listen: Listen) -> None:
    listen(Room)

    with suppress(), transaction.atomic():
        Room.objects.create(name="one")

    assert everything.rows() == []


def test_commits_by_hand(everything: Outbox, listen: Listen) -> None:
    listen(Room)
    everything.die()

    with by_hand():
        Room.objects.create(name="one")
        transaction.commit()
        Room.objects.create(name="two")
        Room.objects.create(name="three")
        transaction.commit()
        Room.objects.create(name="dropped")
        transaction.rollback()

    assert [len(some) for some in told(everything)] == [1, 2]


def test_switching_autocommit_on_commits(everything: Outbox, listen: Listen) -> None:
    listen(Room)
    everything.die()

    transaction.set_autocommit(False)
    Room.objects.create(name="one")
    transaction.set_autocommit(True)

    assert told(everything) == [[("create", "testapp.room")]]


def test_each_database_has_its_own(everything: Outbox, listen: Listen) -> None:
    listen(Room)
    everything.die()

    Room.objects.using("other").create(name="one")

    assert told(everything) == []
    assert told(everything, "other") == [[("create", "testapp.room")]]


def write_in_each_way() -> Iterator[Callable[[], object]]:
    room = Room.objects.create(name="a")
    tag, tagged = Tag.objects.create(name="red"), Tagged.objects.create(name="a")
    sheet = Sheet.objects.create(title="a")
    sheets = Sheet.objects
    yield room.save
    yield room.delete
    yield lambda: Room.objects.get_or_create(name="b")
    yield lambda: Room.objects.update_or_create(name="b", defaults={"public": False})
    yield lambda: Room.objects.all().delete()
    yield lambda: tagged.tags.add(tag)
    yield lambda: tagged.tags.set([])
    yield lambda: tag.tagged.add(tagged)
    yield tagged.tags.clear
    yield lambda: sheets.bulk_create([Sheet(title="b"), Sheet(title="c")])
    yield lambda: sheets.update(count=3)
    yield lambda: sheets.bulk_update([sheet], ["count"])


def test_every_way_to_write_is_one_transaction(
    everything: Outbox, listen: Listen
) -> None:
    for model in (Room, Tagged, Sheet):
        listen(model)

    for write in write_in_each_way():
        tracking.shut_down()
        OutboxEntry.objects.all().delete()
        everything.die()
        write()
        assert len(everything.rows()) == 1


async def test_asynchronous_writes(everything: Outbox, listen: Listen) -> None:
    listen(Room)
    everything.die()

    room = await Room.objects.acreate(name="a")
    await room.asave()
    await room.adelete()

    actions = [entry async for entry in OutboxEntry.objects.order_by("pk")]
    assert [items(entry)[0]["action"] for entry in actions] == [
        "create",
        "update",
        "delete",
    ]


def test_announced_in_a_transaction(everything: Outbox, listen: Listen) -> None:
    listen(Room)
    with suppress():
        room = Room.objects.create(name="a")
    everything.die()

    with transaction.atomic():
        announce(room)

    assert told(everything) == [[("update", "testapp.room")]]


def test_a_receiver_that_raises_rolls_a_durable_save_back(
    everything: Outbox, listen: Listen
) -> None:
    listen(Room)

    def refuse(**kwargs: Any) -> None:
        raise Undo

    post_save.connect(refuse, sender=Room)
    try:
        with pytest.raises(Undo):
            Room.objects.create(name="a")
    finally:
        post_save.disconnect(refuse, sender=Room)

    assert not Room.objects.exists()
    assert everything.rows() == []


def test_a_save_that_a_receiver_has_ended_fails(
    everything: Outbox, listen: Listen
) -> None:
    def swallow(**kwargs: Any) -> None:
        with contextlib.suppress(IntegrityError):
            Parent.objects.create(pk=1, name="again")

    Parent.objects.create(pk=1)
    listen(Room)
    post_save.connect(swallow, sender=Room)
    try:
        with pytest.raises(transaction.TransactionManagementError, match="post_save"):
            Room.objects.create(name="a")
    finally:
        post_save.disconnect(swallow, sender=Room)


def test_a_save_needs_no_new_thread(
    everything: Outbox, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction is committed, and a later one starts the thread."""
    heard = listen(Room)
    get_publisher()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail_to_start)
        Room.objects.create(name="a")
    Room.objects.create(name="b")

    assert len(heard) == 2
    assert tracking.get_tracker().finish(PATIENCE)
    assert everything.rows() == []


def fail_to_start(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


# --- Messages that wait


@pytest.fixture
def out(sent: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return sent


def test_a_message_that_waits_is_written(
    everything: Outbox, out: list[tuple[str, str]]
) -> None:
    everything.die()

    with transaction.atomic():
        broadcast("tests:A", "<b>", targets=["x"], summary="<all>")
        with immediately():
            broadcast("tests:A", "now")

    [entry] = everything.rows()
    [item] = items(entry)
    _, data, key, *_ = item["message"]
    assert (item["name"], data, key, item["summary"]) == (
        "tests:A",
        "<b>",
        "#x",
        "<all>",
    )
    assert out == [("tests:A", "now"), ("tests:A", "<b>")]


def test_a_message_goes_with_a_durable_change(
    outbox: Outbox, out: list[tuple[str, str]], listen: Listen
) -> None:
    listen(Room)
    durable(Room)
    outbox.die()

    with transaction.atomic():
        broadcast("tests:A", "alone")
    with transaction.atomic():
        broadcast("tests:A", "with it")
        Room.objects.create(name="a")

    [entry] = outbox.rows()
    assert ["message" in item for item in items(entry)] == [True, False]


def test_a_message_of_several_transactions_is_a_gap_of_each(
    everything: Outbox, out: list[tuple[str, str]]
) -> None:
    everything.die()

    with transaction.atomic(), transaction.atomic(using="other"):
        broadcast("tests:A", "<b>")

    for alias in ("default", "other"):
        [entry] = everything.rows(alias)
        [item] = items(entry)
        assert item["message"][1] is None
    assert out == [("tests:A", "<b>")]


# --- What fails


def test_without_the_table_a_save_goes_on(
    no_table: None,
    everything: Outbox,
    listen: Listen,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line says what is missing, and every transaction is counted."""
    heard = listen(Room)
    before = metrics.counters()["not_durable"]

    with transaction.atomic():
        Room.objects.create(name="a")
    Room.objects.create(name="b")

    assert [change.instance.name for change in heard] == ["a", "b"]
    assert Room.objects.count() == 2
    assert metrics.counters()["not_durable"] - before == 2
    [record] = [r for r in caplog.records if r.name == "turbo.outbox"]
    assert "manage.py migrate" in record.getMessage()


def test_a_row_that_cannot_be_written_leaves_the_save(
    everything: Outbox, listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    heard = listen(Room)

    def refuse(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("INSERT") and OutboxEntry._meta.db_table in sql:
            sql = sql.replace("seen", "absent")
        return execute(sql, *args)

    with connection.execute_wrapper(refuse):
        Room.objects.create(name="a")

    assert [change.instance.name for change in heard] == ["a"]
    assert Room.objects.get().name == "a"
    [record] = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "could not be written into the outbox" in record.getMessage()


@contextmanager
def no_room_behind(path: Path) -> Iterator[None]:
    """Let writes of this process fail that would make a file larger than this one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_transaction_that_the_database_has_ended_is_not_committed(
    everything: Outbox,
    listen: Listen,
    tmp_path: Path,
    django_db_blocker: DjangoDbBlocker,
) -> None:
    """SQLite rolls everything back after some errors, also of the outbox's INSERT."""
    settings = sqlite_database(tmp_path / "full")
    settings["OPTIONS"] |= {"init_command": "PRAGMA journal_mode=DELETE"}
    hooks: list[str] = []

    def write() -> None:
        with ExitStack() as stack, transaction.atomic(using="full"):
            Room.objects.using("full").create(name="a")
            transaction.on_commit(lambda: hooks.append("committed"), using="full")
            stack.enter_context(no_room_behind(Path(f"{settings['NAME']}-journal")))

    with django_db_blocker.unblock(), another_database("full", settings):
        heard = listen(Room)
        with pytest.raises(OperationalError):
            write()

        assert (list(heard), hooks) == ([], [])
        connections["full"].close()
        assert not Room.objects.using("full").exists()


def test_a_commit_that_fails_leaves_nothing(everything: Outbox, listen: Listen) -> None:
    heard = listen(Room)

    def refuse(execute: Any, sql: str, *args: Any) -> Any:
        if sql.startswith("INSERT") and OutboxEntry._meta.db_table in sql:
            execute(sql, *args)
            raise KeyboardInterrupt
        return execute(sql, *args)

    with connection.execute_wrapper(refuse), pytest.raises(KeyboardInterrupt):
        Room.objects.create(name="a")

    assert tracking.get_tracker().waiting() == 0
    assert heard == []


# --- When it goes


def with_hook(hook: Callable[[], object], work: Callable[[], object]) -> None:
    """Do work in a transaction that has a hook of the application first."""
    with transaction.atomic():
        transaction.on_commit(hook)
        work()


def test_it_goes_when_everything_was_sent(everything: Outbox, listen: Listen) -> None:
    listen(Room)

    for _ in range(3):
        Room.objects.create(name="a")

    assert tracking.get_tracker().finish(PATIENCE)
    assert everything.rows() == []


def test_it_stays_until_the_log_has_the_messages(
    stuck: Outbox, declare: Callable[..., Any]
) -> None:
    def on_save(self: Any, room: Room, created: bool) -> None:
        broadcast("tests:A", "<b>")

    declare("Waits", Room, attribute="waits", on_save=on_save)

    Room.objects.create(name="a")

    assert not tracking.get_tracker().finish(0.3)
    assert len(stuck.rows()) == 1


def test_it_stays_while_a_hook_runs(everything: Outbox, listen: Listen) -> None:
    listen(Room)
    goes_on, entered = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        goes_on.wait(PATIENCE)

    def work() -> None:
        try:
            with transaction.atomic():
                Room.objects.create(name="a")
                transaction.on_commit(wait)
        finally:
            connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    assert entered.wait(PATIENCE)
    assert not tracking.get_tracker().finish(0.3)
    assert len(everything.rows()) == 1
    goes_on.set()
    thread.join()

    assert tracking.get_tracker().finish(PATIENCE)


def test_it_goes_after_a_hook_that_ends_its_thread(
    everything: Outbox, listen: Listen
) -> None:
    """Django drops the hooks after it, but the changes are told."""
    heard = listen(Room)

    def leave() -> None:
        raise SystemExit

    with pytest.raises(SystemExit):
        with_hook(leave, lambda: Room.objects.create(name="a"))

    assert len(heard) == 1
    assert tracking.get_tracker().finish(PATIENCE)
    assert everything.rows() == []


def test_a_change_in_a_hook_has_a_row_of_its_own(everything: Outbox) -> None:
    def rename(change: ModelChange) -> None:
        if change.instance.name == "a":
            Room.objects.create(name="b")

    made = watch(Room, rename)
    everything.die()
    try:
        Room.objects.create(name="a")
    finally:
        made.stop()

    assert [len(some) for some in told(everything)] == [1, 1]


def test_a_living_process_says_so(everything: Outbox, listen: Listen) -> None:
    """However long its hooks take, or Redis is away."""
    listen(Room)

    def wait() -> None:
        everything.age()
        wait_until(lambda: not relay.left_behind("default").exists())

    with_hook(wait, lambda: Room.objects.create(name="a"))

    assert tracking.get_tracker().finish(PATIENCE)


def rename_table(old: str, new: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {old} RENAME TO {new}")


def test_a_publisher_that_cannot_be_made_does_not_end_the_thread(
    everything: Outbox,
    listen: Listen,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listen(Room)
    failures = iter([RuntimeError("can't start new thread")])

    def make() -> PublisherThread:
        for error in failures:
            raise error
        return get_publisher()

    monkeypatch.setattr(tracking, "get_publisher", make)
    Room.objects.create(name="a")

    assert tracking.get_tracker().finish(PATIENCE)
    assert everything.rows() == []
    assert "Rows of the outbox wait to be deleted." in caplog.text


def test_rows_that_cannot_be_deleted_go_later(
    everything: Outbox, listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    """What is in another database goes meanwhile."""
    listen(Room)
    table = OutboxEntry._meta.db_table

    Room.objects.using("other").create(name="a")
    with_hook(
        lambda: rename_table(table, "away"), lambda: Room.objects.create(name="a")
    )
    wait_until(lambda: "cannot be deleted" in caplog.text)
    wait_until(lambda: not everything.rows("other"))
    rename_table("away", table)

    assert tracking.get_tracker().finish(PATIENCE)
    assert everything.rows() == []
    wait_until(lambda: "Rows of the outbox are deleted again." in caplog.text)


def test_a_forked_process_leaves_the_rows_to_its_parent(
    everything: Outbox, listen: Listen
) -> None:
    listen(Room)
    of_parent = tracking.get_tracker()

    def fork() -> None:
        tracking._after_fork()  # what the child does

    with_hook(fork, lambda: Room.objects.create(name="a"))
    of_parent.stop()

    assert tracking.get_tracker().owner != of_parent.owner
    assert (tracking.get_tracker().waiting(), of_parent.waiting()) == (0, 1)
