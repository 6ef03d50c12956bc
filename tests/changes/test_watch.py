"""From a signal to one change after the commit: ``turbo.changes``."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import serializers
from django.core.files.base import ContentFile
from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    connection,
    connections,
    transaction,
)
from django.db.models import F, Model
from django.db.models.signals import (
    m2m_changed,
    post_delete,
    post_init,
    post_save,
    pre_delete,
    pre_save,
)
from django.test import TestCase

from tests.support.listening import Heard, Listen, listening, rolled_back
from tests.testapp.models import Message, Room, Sheet, Tag, Tagged
from turbo.changes import ModelChange, announce, watch
from turbo.exceptions import UnsavedInstanceError
from turbo.runtime import context

real_commits = pytest.mark.django_db(transaction=True, databases=["default", "other"])

Capture = Callable[..., Any]

_OWN_SIGNALS = (pre_save, post_save, pre_delete, post_delete)


@pytest.fixture
def listen() -> Iterator[Listen]:
    yield from listening()


@contextmanager
def by_hand() -> Iterator[None]:
    """Commit and roll back by hand."""
    transaction.set_autocommit(False)
    try:
        yield
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


def fail(*args: Any) -> None:
    raise RuntimeError("a fault of the user's code")


# --- What a change says


@real_commits
def test_a_save_without_a_transaction_is_told_of_at_once(listen: Listen) -> None:
    heard = listen(Room)

    room = Room.objects.create(name="Lobby")

    assert heard == [
        ModelChange(
            model=Room, instance=room, pk=room.pk, action="create", using="default"
        )
    ]
    assert heard[0].created


@real_commits
def test_an_update_names_its_fields(listen: Listen) -> None:
    room = Room.objects.create(name="Lobby")
    heard = listen(Room)

    room.save()
    room.save(update_fields=["name"])
    room.save(update_fields=[])

    assert [(c.action, c.update_fields) for c in heard] == [
        ("update", None),
        ("update", frozenset({"name"})),
    ]
    assert not heard[0].created


@real_commits
def test_a_delete_keeps_the_key_the_columns_and_what_was_loaded(
    listen: Listen,
) -> None:
    room = Room.objects.create(name="Lobby")
    message = Message.objects.create(room=room, text="hello")
    pk = message.pk
    heard = listen(Message)

    message.delete()

    assert message.pk is None
    assert heard.actions == [("delete", pk)]
    assert (heard[0].instance.id, heard[0].instance.text) == (pk, "hello")
    assert heard[0].instance.room is room


@real_commits
def test_a_cascade_is_told_of_row_by_row(listen: Listen) -> None:
    room = Room.objects.create(name="Lobby")
    messages = [Message.objects.create(room=room, text=text) for text in "ab"]
    heard = listen(Message)

    Room.objects.all().delete()

    assert {pk for _, pk in heard.actions} == {m.pk for m in messages}
    assert {c.instance.room_id for c in heard} == {room.pk or heard[0].instance.room_id}


@real_commits
def test_the_instance_is_an_image_from_the_time_of_the_save(listen: Listen) -> None:
    heard = listen(Sheet)
    sheet = Sheet(title="one", data={"a": [1]}, file="note.txt")
    sheet.remark = "set by the view"

    with transaction.atomic():
        sheet.save()
        sheet.title = "never saved"
        sheet.data["a"].append(2)
        sheet.remark = "changed"
        sheet.file.name = "other.txt"

    instance = heard[0].instance
    assert instance is not sheet
    assert (instance.title, instance.data) == ("one", {"a": [1]})
    assert (instance.remark, instance.file.name) == ("set by the view", "note.txt")


@real_commits
def test_an_uploaded_file_belongs_to_the_image(listen: Listen) -> None:
    heard = listen(Sheet)

    sheet = Sheet(title="one")
    sheet.file.save("note.txt", ContentFile(b"text"))

    assert heard[0].instance.file.read() == b"text"
    assert heard[0].instance.file.instance is heard[0].instance
    assert sheet.file.instance is sheet


@real_commits
def test_an_expression_is_read_from_the_database_when_it_is_used(
    listen: Listen, django_assert_num_queries: Callable[..., Any]
) -> None:
    sheet = Sheet.objects.create(title="one", count=1)
    heard = listen(Sheet)

    sheet.count = F("count") + 1
    sheet.save(update_fields=["count"])

    assert (heard[0].instance.count, heard[0].instance.doubled) == (2, 4)
    with django_assert_num_queries(0):
        assert heard[0].instance.title == "one"


@real_commits
def test_a_deleted_image_keeps_an_expression_that_nobody_can_resolve(
    listen: Listen,
) -> None:
    sheet = Sheet.objects.create(title="one", count=1)
    heard = listen(Sheet)
    sheet.count = F("count") + 1

    sheet.delete()

    assert hasattr(heard[0].instance.count, "resolve_expression")


@real_commits
def test_an_image_does_not_carry_prefetched_rows_of_another_time(
    listen: Listen,
) -> None:
    room = Room.objects.create(name="Lobby")
    room = Room.objects.prefetch_related("messages").get()
    Message.objects.create(room=room, text="later")
    heard = listen(Room)

    room.save()

    assert [m.text for m in heard[0].instance.messages.all()] == ["later"]
    assert list(room.messages.all()) == []


@real_commits
def test_deferred_columns_stay_deferred(
    listen: Listen, django_assert_num_queries: Callable[..., Any]
) -> None:
    Room.objects.create(name="Lobby")
    room = Room.objects.only("public").get()
    heard = listen(Room)

    with django_assert_num_queries(1):
        room.save()

    assert heard[0].update_fields == {"public"}
    assert heard[0].instance.get_deferred_fields() == {"name"}
    assert heard[0].instance.name == "Lobby"


@real_commits
def test_fresh_reads_the_object_as_it_is_now(
    listen: Listen, django_assert_num_queries: Callable[..., Any]
) -> None:
    heard = listen(Room)
    room = Room.objects.using("other").create(name="Lobby")
    Room.objects.using("other").update(name="Cellar")

    with django_assert_num_queries(1, using="other"):
        assert heard[0].fresh().name == "Cellar"

    room.delete()
    assert heard[0].fresh() is None


@real_commits
def test_a_key_is_of_the_type_that_the_database_gives(listen: Listen) -> None:
    heard = listen(Room)

    with transaction.atomic():
        Room(pk="5", name="Lobby").save()
        Room.objects.get(pk=5).save()

    assert heard.actions == [("create", 5)]
    assert heard[0].instance.pk == 5


# --- One change per object and transaction


@real_commits
def test_nothing_is_told_before_the_commit(listen: Listen) -> None:
    heard = listen(Room)

    with transaction.atomic():
        room = Room.objects.create(name="Lobby")
        assert heard == []

    assert heard.actions == [("create", room.pk)]


@real_commits
def test_nothing_is_told_of_a_transaction_that_is_rolled_back(listen: Listen) -> None:
    heard = listen(Room)

    with rolled_back():
        Room.objects.create(name="Lobby")
    Room.objects.create(name="Cellar")

    assert [c.instance.name for c in heard] == ["Cellar"]


@real_commits
def test_created_and_updated_is_created_with_the_last_values(listen: Listen) -> None:
    heard = listen(Room)

    with transaction.atomic():
        room = Room.objects.create(name="Lobby")
        room.name = "Hall"
        room.save(update_fields=["name"])

    assert [(c.action, c.instance.name, c.update_fields) for c in heard] == [
        ("create", "Hall", None)
    ]


@real_commits
def test_created_and_deleted_is_nothing(listen: Listen) -> None:
    heard = listen(Room)

    with transaction.atomic():
        Room.objects.create(name="Lobby").delete()

    assert heard == []


@real_commits
def test_updated_and_deleted_is_deleted(listen: Listen) -> None:
    room = Room.objects.create(name="Lobby")
    pk = room.pk
    heard = listen(Room)

    with transaction.atomic():
        room.save()
        room.delete()

    assert heard.actions == [("delete", pk)]


@real_commits
def test_deleted_and_created_again_is_an_update_of_everything(listen: Listen) -> None:
    room = Room.objects.create(name="Lobby")
    pk = room.pk
    heard = listen(Room)

    with transaction.atomic():
        room.delete()
        room = Room.objects.create(pk=pk, name="Hall")
        room.save(update_fields=["name"])

    assert [(c.action, c.pk, c.update_fields) for c in heard] == [("update", pk, None)]


def count_again(sheet: Sheet) -> None:
    Sheet.objects.filter(pk=sheet.pk).update(count=5)


def save_again(sheet: Sheet) -> None:
    sheet.count = 5
    sheet.save()


@pytest.fixture
def receive() -> Iterator[Callable[..., None]]:
    """A function that connects a receiver of ``post_save`` for this test."""
    with ExitStack() as stack:

        def connect(model: type[Model], receiver: Callable[..., None]) -> None:
            post_save.connect(receiver, sender=model, weak=False)
            stack.callback(post_save.disconnect, receiver, sender=model)

        yield connect


@real_commits
@pytest.mark.parametrize("again", [save_again, count_again])
def test_what_an_earlier_receiver_writes_again_is_created(
    listen: Listen, receive: Callable[..., None], again: Callable[[Sheet], None]
) -> None:
    def on_save(instance: Sheet, created: bool, **kwargs: Any) -> None:
        if created:
            again(instance)

    receive(Sheet, on_save)
    heard = listen(Sheet)

    with transaction.atomic():
        sheet = Sheet.objects.create(pk=7, title="one")
        sheet.delete()
        Sheet.objects.create(pk=8, title="two")

    assert [(c.action, c.pk, c.instance.count) for c in heard] == [("create", 8, 5)]


@real_commits
def test_what_an_earlier_receiver_relates_is_created(
    listen: Listen, receive: Callable[..., None]
) -> None:
    tag = Tag.objects.create(name="new")
    receive(Tagged, lambda instance, **kwargs: instance.tags.add(tag))
    heard = listen(Tagged)

    with transaction.atomic():
        tagged = Tagged.objects.create(name="one")

    assert heard.actions == [("create", tagged.pk)]


@real_commits
def test_what_an_earlier_receiver_deletes_is_not_created(
    listen: Listen, receive: Callable[..., None]
) -> None:
    receive(Room, lambda instance, **kwargs: instance.delete())
    heard = listen(Room)

    Room.objects.create(name="Lobby")

    assert [c.action for c in heard] == ["delete"]


@pytest.mark.parametrize(
    ("saves", "merged"),
    [
        ([["name"], ["public"]], frozenset({"name", "public"})),
        ([["name"], None], None),
        ([None, ["name"]], None),
    ],
)
@real_commits
def test_the_names_of_fields_are_joined_and_none_means_any(
    listen: Listen, saves: list[Any], merged: frozenset[str] | None
) -> None:
    room = Room.objects.create(name="Lobby")
    heard = listen(Room)

    with transaction.atomic():
        for names in saves:
            room.save(update_fields=names)

    assert [c.update_fields for c in heard] == [merged]


@real_commits
def test_a_partial_save_brings_no_columns_that_it_does_not_write(
    listen: Listen,
) -> None:
    lobby, hall = Room.objects.create(name="Lobby"), Room.objects.create(name="Hall")
    message = Message.objects.create(room=lobby, text="old")
    heard = listen(Message)
    other = Message.objects.select_related("room").get()

    with transaction.atomic():
        message.text, message.room = "new", hall
        message.save()
        message.text = "set and not saved"
        message.edited = True
        message.save(update_fields=["edited"])
        other.author = User.objects.create(username="ann")
        other.save(update_fields=["author"])

    (change,) = heard
    instance = change.instance
    assert (change.action, change.update_fields) == ("update", None)
    assert (instance.text, instance.edited) == ("new", True)
    assert (instance.author.username, instance.room.name) == ("ann", "Hall")


@real_commits
def test_a_partial_save_of_a_new_object_brings_what_the_database_computes(
    listen: Listen,
) -> None:
    heard = listen(Sheet)

    with transaction.atomic():
        sheet = Sheet.objects.create(title="one", data={"a": [1]})
        sheet.title = "set and not saved"
        sheet.count = F("count") + 2
        sheet.save(update_fields=["count"])

    (change,) = heard
    instance = change.instance
    assert (change.action, instance.title, instance.data) == (
        "create",
        "one",
        {"a": [1]},
    )
    assert (instance.count, instance.doubled) == (2, 4)


@real_commits
def test_changes_stand_in_the_order_of_the_first_records(listen: Listen) -> None:
    heard = listen(Room)

    with transaction.atomic():
        lobby = Room.objects.create(name="Lobby")
        cellar = Room.objects.create(name="Cellar")
        attic = Room.objects.create(name="Attic")
        cellar.save()
        lobby.save()

    assert [c.instance.name for c in heard] == ["Lobby", "Cellar", "Attic"]
    assert attic.pk == heard[2].pk


@real_commits
def test_objects_of_two_models_with_one_key_are_two(listen: Listen) -> None:
    rooms, sheets = listen(Room), listen(Tagged)

    with transaction.atomic():
        Room.objects.create(pk=1, name="Lobby")
        Tagged.objects.create(pk=1, name="Lobby")

    assert (rooms.actions, sheets.actions) == ([("create", 1)], [("create", 1)])


@real_commits
def test_a_savepoint_that_is_rolled_back_takes_its_changes_along(
    listen: Listen,
) -> None:
    heard = listen(Room)

    with transaction.atomic():
        Room.objects.create(name="kept")
        with rolled_back():
            Room.objects.create(name="dropped")
        with transaction.atomic():
            Room.objects.create(name="kept as well")

    assert [c.instance.name for c in heard] == ["kept", "kept as well"]


@real_commits
def test_what_a_dropped_savepoint_did_to_a_changed_object_is_not_told(
    listen: Listen,
) -> None:
    heard = listen(Room)

    with transaction.atomic():
        room = Room.objects.create(name="Lobby")
        with rolled_back():
            room.name = "dropped"
            room.save()
        other = Room.objects.create(name="Cellar")

    assert [(c.action, c.instance.name) for c in heard] == [
        ("create", "Lobby"),
        ("create", "Cellar"),
    ]
    assert other.pk == heard[1].pk


@real_commits
def test_a_delete_in_a_dropped_savepoint_did_not_happen(listen: Listen) -> None:
    heard = listen(Room)

    with transaction.atomic():
        room = Room.objects.create(name="Lobby")
        with rolled_back():
            Room.objects.all().delete()

    assert heard.actions == [("create", room.pk)]


@real_commits
def test_an_object_changed_only_in_a_dropped_savepoint_holds_nothing_back(
    listen: Listen,
) -> None:
    room = Room.objects.create(name="Lobby")
    heard = listen(Room)

    with transaction.atomic():
        with rolled_back():
            room.save()
            with transaction.atomic():
                room.save()
        cellar = Room.objects.create(name="Cellar")

    assert heard.actions == [("create", cellar.pk)]


@real_commits
def test_a_failure_in_a_block_without_savepoint_takes_the_enclosing_one(
    listen: Listen,
) -> None:
    heard = listen(Room)

    with transaction.atomic():
        Room.objects.create(name="kept")
        with suppress(RuntimeError), transaction.atomic():
            Room.objects.create(name="dropped")
            with transaction.atomic(savepoint=False):
                Room.objects.create(name="dropped as well")
                fail()

    assert [c.instance.name for c in heard] == ["kept"]


@real_commits
def test_a_durable_block_is_a_transaction(listen: Listen) -> None:
    heard = listen(Room)

    with transaction.atomic(durable=True):
        Room.objects.create(name="Lobby").save()
        assert heard == []

    assert len(heard) == 1


@real_commits
def test_nothing_of_a_rolled_back_transaction_is_kept(listen: Listen) -> None:
    listen(Room)
    kept: list[weakref.ref[Room]] = []

    class Kept(Room):
        class Meta:
            proxy = True
            app_label = "testapp"
            apps = type(Room._meta.apps)()

        def save(self, *args: Any, **kwargs: Any) -> None:
            kept.append(weakref.ref(self))
            super().save(*args, **kwargs)

    def make() -> None:
        with rolled_back(), transaction.atomic():
            Kept(name="Lobby").save()

    make()
    gc.collect()

    assert [ref() for ref in kept] == [None]
    assert connection.run_on_commit == []
    assert vars(connections["default"])["_turbo_journal"] == []


@real_commits
def test_what_is_rolled_back_does_not_wait_for_the_collector(listen: Listen) -> None:
    class Mark:
        def __init__(self) -> None:
            marks.append(weakref.ref(self))

    marks: list[weakref.ref[Mark]] = []
    listen(Room, mark=Mark)
    gc.disable()
    try:
        with rolled_back():
            Room.objects.create(name="Lobby")
            Room.objects.create(name="Cellar")
        assert [mark() for mark in marks] == [None, None]
    finally:
        gc.enable()


# --- Databases, threads, manual transactions


@real_commits
def test_each_database_commits_for_itself(listen: Listen) -> None:
    heard = listen(Room)

    with transaction.atomic(using="other"):
        Room.objects.using("other").create(name="other")
        with transaction.atomic():
            Room.objects.create(name="default")
        assert [c.using for c in heard] == ["default"]

    assert [(c.using, c.instance._state.db) for c in heard] == [
        ("default", "default"),
        ("other", "other"),
    ]


@real_commits
def test_each_thread_commits_for_itself(listen: Listen) -> None:
    heard = listen(Room)

    def work() -> None:
        try:
            Room.objects.using("other").create(name="other thread")
        finally:
            connections.close_all()

    with transaction.atomic():
        Room.objects.create(name="this thread")
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert [c.instance.name for c in heard] == ["other thread"]

    assert [c.instance.name for c in heard] == ["other thread", "this thread"]


@real_commits
def test_a_transaction_managed_by_hand_is_told_of_at_its_commit(
    listen: Listen,
) -> None:
    heard = listen(Room)

    with by_hand():
        Room.objects.create(name="dropped")
        transaction.rollback()
        room = Room.objects.create(name="kept")
        room.save()
        assert heard == []
        transaction.commit()
        committed = list(heard)
        Room.objects.create(name="dropped later")
        transaction.rollback()

    assert [(c.action, c.instance.name) for c in committed] == [("create", "kept")]
    assert heard == committed


@real_commits
def test_a_watcher_of_a_commit_by_hand_reads_and_writes_outside_a_transaction(
    listen: Listen,
) -> None:
    tagged = listen(Tagged)

    def answer(change: ModelChange) -> None:
        assert Room.objects.filter(pk=change.pk).exists()
        assert not connection.in_atomic_block
        Tagged.objects.create(name="answer")

    answering = watch(Room, answer)
    with by_hand():
        Room.objects.create(name="Lobby")
        transaction.commit()
        assert not transaction.get_autocommit()
        transaction.rollback()
    answering.stop()

    assert [c.instance.name for c in tagged] == ["answer"]
    assert Tagged.objects.count() == 1


@real_commits
def test_a_hook_of_a_block_in_a_transaction_by_hand_waits_as_in_django(
    listen: Listen,
) -> None:
    heard: list[str] = []
    rooms = listen(Room)

    with by_hand():
        with transaction.atomic():
            Room.objects.create(name="Lobby")
            transaction.on_commit(lambda: heard.append("hook"))
        assert rooms == []
        transaction.commit()
        assert len(rooms) == 1
        assert heard == []
        transaction.set_autocommit(True)

    assert heard == ["hook"]


@real_commits
def test_switching_autocommit_on_commits(listen: Listen) -> None:
    heard = listen(Room)

    transaction.set_autocommit(False)
    room = Room.objects.create(name="Lobby")
    transaction.set_autocommit(True)
    assert heard.actions == [("create", room.pk)]
    room.save()
    with rolled_back():
        room.save()

    assert transaction.get_autocommit()
    assert heard.actions == [("create", room.pk), ("update", room.pk)]


@real_commits
def test_a_transaction_by_hand_ends_with_its_connection(listen: Listen) -> None:
    heard = listen(Room)

    transaction.set_autocommit(False)
    with suppress(InterfaceError, DatabaseError), transaction.atomic():
        Room.objects.create(name="Lobby")
        connection.close()
        announce(Room(pk=7))
    connection.connect()
    transaction.set_autocommit(True)

    assert heard == []


@real_commits
async def test_the_async_calls_are_heard(listen: Listen) -> None:
    heard = listen(Room)

    room = await Room.objects.acreate(name="Lobby")
    pk = room.pk
    await room.asave()
    await room.adelete()

    assert heard.actions == [("create", pk), ("update", pk), ("delete", pk)]


# --- Tests that never commit


@pytest.mark.django_db
def test_captured_callbacks_tell_what_would_be_committed(
    listen: Listen, django_capture_on_commit_callbacks: Capture
) -> None:
    heard = listen(Room)

    with django_capture_on_commit_callbacks(execute=True):
        room = Room.objects.create(name="Lobby")
        room.save()
        with rolled_back():
            room.name = "dropped"
            room.save()
        assert heard == []

    assert [(c.action, c.instance.name) for c in heard] == [("create", "Lobby")]


@pytest.mark.django_db
def test_two_captures_in_one_test_are_two_transactions(
    listen: Listen, django_capture_on_commit_callbacks: Capture
) -> None:
    room = Room.objects.create(name="before")
    heard = listen(Room)

    room.save()
    with django_capture_on_commit_callbacks(execute=True):
        room.save(update_fields=["name"])
    with django_capture_on_commit_callbacks(execute=True):
        room.save(update_fields=["public"])

    assert [c.update_fields for c in heard] == [{"name"}, {"public"}]


@pytest.mark.django_db
def test_what_a_callback_saves_is_captured_too(
    listen: Listen, django_capture_on_commit_callbacks: Capture
) -> None:
    heard = listen(Room)
    answer = watch(Room, lambda change: Tagged.objects.create(name="answer"))
    tagged = listen(Tagged)

    with django_capture_on_commit_callbacks(execute=True):
        Room.objects.create(name="Lobby")
    answer.stop()

    assert (len(heard), len(tagged)) == (1, 1)


class TestInATestCase(TestCase):
    """Rows made for the class and in each test; nothing is ever committed."""

    room: Room
    heard: Heard

    @classmethod
    def setUpTestData(cls) -> None:
        stop = watch(Room, lambda change: None)
        cls.room = Room.objects.create(name="of the class")
        stop.stop()

    def setUp(self) -> None:
        self.heard = Heard()
        watched = watch(Room, self.heard.append)
        self.addCleanup(watched.stop)
        self.room.save()

    def test_one(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            self.room.save(update_fields=["name"])
            Room.objects.create(name="first")
            Room.objects.create(name="second")

        names = [change.instance.name for change in self.heard]
        assert names == ["of the class", "first", "second"]
        assert self.heard[0].update_fields == {"name"}

    test_other = test_one


# --- Callbacks


@real_commits
def test_a_failing_callback_is_logged_and_the_others_are_called(
    listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    failing = watch(Room, fail)
    heard = listen(Room)

    with transaction.atomic():
        room = Room.objects.create(name="Lobby")
        Room.objects.create(name="Cellar")
    failing.stop()

    assert [c.instance.name for c in heard] == ["Lobby", "Cellar"]
    assert caplog.messages[0] == (
        f"The create of testapp.Room {room.pk} was committed, but a watcher failed to "
        f"handle it."
    )
    assert [r.levelno for r in caplog.records] == [logging.ERROR] * 2
    assert "a fault of the user's code" in caplog.text


@real_commits
def test_a_hook_of_the_application_that_fails_loses_nothing(listen: Listen) -> None:
    heard = listen(Room)

    @transaction.atomic
    def work() -> None:
        Room.objects.create(name="before")
        transaction.on_commit(fail)
        Room.objects.create(name="after")
        transaction.on_commit(fail)

    with pytest.raises(RuntimeError, match="a fault"):
        work()
    Room.objects.create(name="later")

    assert [c.instance.name for c in heard] == ["before", "after", "later"]


@real_commits
def test_changes_are_told_between_the_hooks_of_the_application(listen: Listen) -> None:
    order: list[str] = []
    watching = watch(Room, lambda change: order.append(change.instance.name))

    with transaction.atomic():
        transaction.on_commit(lambda: order.append("hook 1"))
        lobby = Room.objects.create(name="Lobby")
        transaction.on_commit(lambda: order.append("hook 2"))
        Room.objects.create(name="Cellar")
        lobby.save()
    watching.stop()

    assert order == ["hook 1", "Lobby", "hook 2", "Cellar"]


@real_commits
@pytest.mark.parametrize("atomic", [False, True])
def test_a_callback_that_changes_an_object_is_not_followed_by_an_older_state(
    listen: Listen, atomic: bool
) -> None:
    heard = listen(Room)
    cellar = Room.objects.create(name="Cellar")

    def rename(change: ModelChange) -> None:
        if change.instance.name == "Lobby":
            with transaction.atomic() if atomic else nullcontext():
                Room.objects.filter(pk=cellar.pk).first().save()

    renaming = watch(Room, rename)
    with transaction.atomic():
        Room.objects.create(name="Lobby")
        cellar.name = "Attic"
        cellar.save()
    renaming.stop()

    assert [(c.action, c.instance.name) for c in heard] == [
        ("create", "Cellar"),
        ("create", "Lobby"),
        ("update", "Attic"),
    ]


@real_commits
@pytest.mark.parametrize("block", [transaction.atomic, rolled_back])
def test_it_is_not_followed_by_one_either_after_a_transaction_of_its_own(
    listen: Listen, block: Callable[[], Any]
) -> None:
    heard = listen(Room)
    cellar = Room.objects.create(name="Cellar")

    def rename(change: ModelChange) -> None:
        if change.instance.name == "Lobby":
            with block():
                Tagged.objects.create(name="answer")
                Room.objects.create(name="Kitchen")
            Room.objects.filter(pk=cellar.pk).first().save()

    renaming = watch(Room, rename)
    with transaction.atomic():
        Room.objects.create(name="Lobby")
        cellar.name = "Attic"
        cellar.save()
    renaming.stop()

    assert heard.actions.count(("update", cellar.pk)) == 1


@real_commits
@pytest.mark.parametrize("block", [nullcontext, transaction.atomic])
def test_what_a_callback_does_to_its_own_object_comes_later_for_all(
    listen: Listen, block: Callable[[], Any]
) -> None:
    def rename(change: ModelChange) -> None:
        if change.created:
            with block():
                change.fresh().delete()

    renaming = watch(Room, rename)
    heard = listen(Room)
    with block():
        room = Room.objects.create(name="Lobby")
    renaming.stop()

    assert heard.actions == [("create", room.pk), ("delete", room.pk)]


@real_commits
@pytest.mark.parametrize("block", [nullcontext, transaction.atomic])
def test_a_callback_that_is_cancelled_keeps_nothing_from_the_others(
    listen: Listen, block: Callable[[], Any]
) -> None:
    def cancel(change: ModelChange) -> None:
        raise asyncio.CancelledError

    cancelled = watch(Room, cancel)
    heard = listen(Room)
    with pytest.raises(asyncio.CancelledError), block():
        Room.objects.create(name="Lobby")
    cancelled.stop()

    assert [c.instance.name for c in heard] == ["Lobby"]


@real_commits
def test_a_callback_may_write_in_a_transaction_of_its_own(listen: Listen) -> None:
    rooms, tagged = listen(Room), listen(Tagged)

    def answer(change: ModelChange) -> None:
        with transaction.atomic():
            Tagged.objects.create(name=change.instance.name).save()

    answering = watch(Room, answer)
    with transaction.atomic():
        lobby = Room.objects.create(name="Lobby")
        Room.objects.create(name="Cellar")
        lobby.save()
    answering.stop()

    assert [c.instance.name for c in rooms] == ["Lobby", "Cellar"]
    assert [(c.action, c.instance.name) for c in tagged] == [
        ("create", "Lobby"),
        ("create", "Cellar"),
    ]


@real_commits
def test_a_stopped_watch_hears_nothing_more(listen: Listen) -> None:
    stopped, heard = listen(Room), listen(Room)

    with transaction.atomic():
        Room.objects.create(name="Lobby")
        stopped.watch.stop()
    Room.objects.create(name="Cellar")
    stopped.watch.stop()

    assert (len(stopped), len(heard)) == (0, 2)


@real_commits
def test_a_watch_hears_what_was_saved_while_it_watched(listen: Listen) -> None:
    early = listen(Room)

    with transaction.atomic():
        room = Room.objects.create(name="Lobby")
        late = listen(Room)
        room.save()

    assert early.actions == [("create", room.pk)]
    assert late.actions == [("update", room.pk)]


# --- mark and before


@real_commits
def test_mark_is_asked_at_each_signal_and_the_last_one_is_kept(listen: Listen) -> None:
    marks = iter(range(10))
    heard = listen(Room, mark=lambda: next(marks))

    with transaction.atomic():
        room = Room.objects.create(name="Lobby")
        room.save()

    assert [c.mark for c in heard] == [1]


@real_commits
def test_before_is_asked_about_the_stored_row(
    listen: Listen, django_assert_num_queries: Callable[..., Any]
) -> None:
    heard = listen(Room, before=lambda room: room.name)
    room = Room.objects.create(name="one")

    with transaction.atomic():
        for name in ("two", "three"):
            room.name = name
            with django_assert_num_queries(2):
                room.save()
    room.name = "never saved"
    room.delete()

    assert [(c.action, c.before, c.instance.name) for c in heard] == [
        ("create", None, "one"),
        ("update", "one", "three"),
        ("delete", "three", "never saved"),
    ]


@real_commits
def test_before_is_given_what_the_database_had_computed(listen: Listen) -> None:
    sheet = Sheet.objects.create(title="one", count=1)
    heard = listen(Sheet, before=lambda row: row)

    sheet.count = 2
    sheet.save()

    assert [(c.before.doubled, c.instance.doubled) for c in heard] == [(2, 4)]


@real_commits
def test_before_of_an_object_made_in_the_same_transaction_is_none(
    listen: Listen,
) -> None:
    heard = listen(Room, before=lambda room: room.name)

    with transaction.atomic():
        room = Room.objects.create(name="one")
        room.save()

    assert [(c.action, c.before) for c in heard] == [("create", None)]


@real_commits
def test_before_follows_a_savepoint_back(listen: Listen) -> None:
    room = Room.objects.create(name="one")
    heard = listen(Room, before=lambda room: room.name)

    with transaction.atomic():
        with rolled_back():
            room.name = "dropped"
            room.save()
        room.name = "two"
        room.save()

    assert [(c.before, c.instance.name) for c in heard] == [("one", "two")]


@real_commits
def test_a_save_that_fails_leaves_nothing_behind(listen: Listen) -> None:
    first = Sheet.objects.create(title="one")
    second = Sheet.objects.create(title="two")
    heard = listen(Sheet, before=lambda sheet: sheet.title)

    second.title = "one"
    with pytest.raises(IntegrityError):
        second.save()
    kept = vars(connections["default"])["_turbo_kept"]
    assert len(kept) == 1
    del second
    gc.collect()

    assert (heard, kept) == ([], {})
    assert first.pk


@real_commits
def test_a_row_that_is_gone_has_no_before(listen: Listen) -> None:
    room = Room.objects.create(name="one")
    Room.objects.filter(pk=room.pk)._raw_delete("default")
    heard = listen(Room, before=lambda room: room.name)

    room.delete()

    assert [(c.action, c.before) for c in heard] == [("delete", None)]


@pytest.mark.parametrize("option", ["mark", "before"])
@real_commits
def test_a_failing_mark_or_before_is_logged_and_the_save_goes_on(
    listen: Listen, caplog: pytest.LogCaptureFixture, option: str
) -> None:
    room = Room.objects.create(name="one")
    heard = listen(Room, **{option: fail})

    room.save()

    assert heard.actions == [("update", room.pk)]
    assert (heard[0].mark, heard[0].before) == (None, None)
    assert "failed; its value is None." in caplog.text


@real_commits
def test_a_fault_while_recording_is_logged_and_the_save_goes_on(
    listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd:
        def __deepcopy__(self, memo: Any) -> Any:
            fail()

    heard = listen(Sheet)
    sheet = Sheet.objects.create(title="one")
    sheet.data = {"odd": Odd()}
    sheet.save(update_fields=["title"])

    assert heard.actions == [("create", sheet.pk)]
    assert caplog.messages == [f"A change of testapp.Sheet {sheet.pk} was lost."]


# --- Suppression and fixtures


@real_commits
def test_nothing_is_recorded_while_suppressed(
    listen: Listen, django_assert_num_queries: Callable[..., Any]
) -> None:
    heard = listen(Room, before=lambda room: room.name)

    with transaction.atomic():
        with context.suppress():
            room = Room.objects.create(name="silent")
            with django_assert_num_queries(1):
                room.save()
            Room.objects.create(name="silent").delete()
        room.save()

    assert heard.actions == [("update", room.pk)]


@pytest.mark.parametrize(
    ("raw", "setting", "heard_of"),
    [
        (None, False, False),
        (None, True, True),
        (True, False, True),
        (False, True, False),
    ],
)
@real_commits
def test_fixtures_are_heard_of_if_asked_for(
    listen: Listen,
    settings: Any,
    raw: bool | None,
    setting: bool,
    heard_of: bool,
) -> None:
    settings.TURBO = {"ANNOUNCE_RAW": setting}
    user = User.objects.create(username="ann")
    heard = listen(Room, raw=raw, before=lambda room: room.name)
    plain = listen(Room, raw=False)
    fields = {"name": "Lobby", "public": True, "members": [user.pk]}
    fixture = [{"model": "testapp.room", "pk": 1, "fields": fields}]

    for deserialized in serializers.deserialize("python", fixture):
        deserialized.save()
    room = deserialized.object
    assert heard.actions[:1] == ([("create", 1)] if heard_of else [])
    assert plain == []

    room.save()
    room.members.clear()
    assert plain.actions == [("update", 1), ("update", 1)]


# --- announce()


@real_commits
def test_announce_tells_after_the_commit_together_with_the_signals(
    listen: Listen,
) -> None:
    room = Room.objects.create(name="Lobby")
    heard = listen(Room)

    with transaction.atomic():
        Room.objects.using("default").update(name="Hall")
        announce(Room.objects.all())
        room.public = False
        room.save(update_fields=["public"])
        assert heard == []

    assert [(c.action, c.update_fields) for c in heard] == [("update", None)]


@pytest.mark.parametrize("action", ["create", "update", "delete"])
@real_commits
def test_announce_takes_one_instance_and_an_action(listen: Listen, action: Any) -> None:
    room = Room.objects.create(name="Lobby")
    heard = listen(Room)

    announce(room, action)
    announce([Room(pk=9, name="by hand")], action=action, using="other")

    assert heard.actions == [(action, room.pk), (action, 9)]
    assert [c.using for c in heard] == ["default", "other"]
    assert [c.instance._state.db for c in heard] == ["default", "other"]


@real_commits
def test_announce_asks_the_router_for_the_database(listen: Listen) -> None:
    heard = listen(Room)

    announce(Room(pk=9))

    assert [c.using for c in heard] == ["default"]


def test_announce_refuses_what_has_no_key() -> None:
    with pytest.raises(UnsavedInstanceError, match=r"testapp\.Room"):
        announce(Room(name="Lobby"))


def test_announce_refuses_an_unknown_action() -> None:
    action: Any = "created"

    with pytest.raises(ValueError, match="not 'created'"):
        announce(Room(pk=1), action)


@real_commits
async def test_announce_needs_no_database(listen: Listen) -> None:
    """The event loop may not use one."""
    heard = listen(Room)

    announce([Room(pk=1), Room(pk=2)])

    assert heard.actions == [("update", 1), ("update", 2)]


@real_commits
def test_announcing_what_nobody_watches_does_nothing() -> None:
    announce(Tagged(pk=1, name="unheard of"))


# --- What watching costs


def test_no_receiver_is_connected_without_a_sender(listen: Listen) -> None:
    listen(Tagged, before=lambda tagged: tagged.name)

    signals = (*_OWN_SIGNALS, m2m_changed)
    assert not any(signal.has_listeners(Sheet) for signal in signals)
    assert not any(signal.has_listeners(type) for signal in signals)
    assert post_save.has_listeners(Tagged)


@real_commits
def test_loading_rows_sends_nothing_to_anybody(
    listen: Listen, django_assert_num_queries: Callable[..., Any]
) -> None:
    Room.objects.create(name="Lobby")
    listen(Room, before=lambda room: room.name)

    with django_assert_num_queries(1):
        list(Room.objects.all())

    assert not post_init.has_listeners(Room)


@real_commits
def test_rows_of_unwatched_models_are_deleted_without_being_loaded(
    listen: Listen, django_assert_num_queries: Callable[..., Any]
) -> None:
    Sheet.objects.create(title="one")
    listen(Tagged)

    with django_assert_num_queries(3):  # BEGIN, DELETE, COMMIT
        Sheet.objects.all().delete()


def test_the_last_watch_of_a_model_disconnects_it(listen: Listen) -> None:
    first, second = listen(Tagged), listen(Tagged, before=lambda tagged: tagged.name)
    through = Tagged.tags.through
    assert all(signal.has_listeners(Tagged) for signal in _OWN_SIGNALS)

    second.watch.stop()
    assert not pre_save.has_listeners(Tagged)
    assert post_save.has_listeners(Tagged)
    assert m2m_changed.has_listeners(through)
    assert pre_delete.has_listeners(Tag)

    first.watch.stop()
    assert not any(signal.has_listeners(Tagged) for signal in _OWN_SIGNALS)
    assert not m2m_changed.has_listeners(through)
    assert not pre_delete.has_listeners(Tag)
