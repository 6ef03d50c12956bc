"""What another process tells of the changes that one has left in the outbox."""

from __future__ import annotations

import json
import logging
import threading
from asyncio import CancelledError
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.db.models import Model
from django.db.models.functions import Now
from django.test import override_settings

from tests.database.conftest import Outbox, retried
from tests.database.relays import at_once
from tests.support.listening import Listen
from tests.support.servers import PATIENCE
from tests.testapp.models import CompositeItem, Message, Room, Sheet, UuidItem
from tests.testapp.streams import Forum
from turbo import metrics, suppress
from turbo.changes import ModelChange, watch
from turbo.database.models import OutboxEntry
from turbo.database.outbox import relay, tracking, writing
from turbo.delivery.audiences import by_audience
from turbo.delivery.broadcast import broadcast
from turbo.runtime.beginnings import begin, when_begun

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

Sent = list[tuple[str, str]]


# --- What is told


def test_each_change_is_told_again_in_order(everything: Outbox, listen: Listen) -> None:
    heard = listen(Room)
    everything.die()
    one = Room.objects.create(name="one")
    with transaction.atomic():
        two = Room.objects.create(name="two")
        one.save()
    one_pk = one.pk
    one.delete()

    assert everything.tell() == 3

    again = retried(heard)
    assert [(c.action, c.pk) for c in again] == [("create", two.pk), ("delete", one_pk)]
    assert heard[: -len(again)] == [c for c in heard if not c.retried]
    assert everything.rows() == []


def test_a_change_is_told_of_the_row_as_it_is_now(
    everything: Outbox, listen: Listen
) -> None:
    heard = listen(Sheet, mark=lambda: Sheet.objects.get().count)
    sheet = Sheet.objects.create(title="a")
    everything.die()
    sheet.count = 1
    sheet.save(update_fields=["count"])
    with suppress():
        Sheet.objects.update(count=2)

    everything.tell()

    [change] = retried(heard)
    assert change.instance.count == 2
    assert (change.action, change.update_fields, change.mark) == (
        "update",
        {"count"},
        2,
    )


def test_the_row_before_the_write_is_known(everything: Outbox, listen: Listen) -> None:
    heard = listen(Room, before=lambda room: room.name)
    room = Room.objects.create(name="old")
    everything.die()
    room.name = "new"
    room.save()
    room.delete()

    everything.tell()

    assert [c.before for c in retried(heard)] == ["new"]
    assert [c.before for c in heard] == [None, "old", "new", "new"]


def test_a_foreign_key_before_the_write(everything: Outbox, listen: Listen) -> None:
    heard = listen(Message, before=lambda m: m.room_id, reads=["room"])
    a, b = Room.objects.create(name="a"), Room.objects.create(name="b")
    message = Message.objects.create(room=a, text="x")
    everything.die()
    message.room = b
    message.save()

    everything.tell()

    [change] = retried(heard)
    assert (change.before, change.instance.room_id) == (a.pk, b.pk)


def test_a_deleted_object_has_its_columns_and_what_went_with_it(
    everything: Outbox, listen: Listen
) -> None:
    heard = listen(Message)
    room = Room.objects.create(name="Lobby")
    Message.objects.create(room=room, text="hello")
    everything.die()
    room.delete()

    everything.tell()

    [change] = retried(heard)
    assert (change.instance.text, change.instance.room.name) == ("hello", "Lobby")


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (UuidItem, {"name": "a"}),
        (CompositeItem, {"tenant": 1, "number": 2, "name": "a"}),
        (Sheet, {"title": "a", "data": {"x": [1, "é"]}}),
    ],
)
def test_each_kind_of_key_and_column(
    model: Any, values: dict[str, Any], everything: Outbox, listen: Listen
) -> None:
    heard = listen(model)
    everything.die()
    made = model.objects.create(**values)
    pk = made.pk
    made.delete()
    model.objects.create(**values)

    everything.tell()

    again = retried(heard)
    deleted = [c for c in again if c.action == "delete"]
    assert [c.pk for c in deleted] == [pk]
    for change in again:
        shown = {name: getattr(change.instance, name) for name in values}
        assert shown == values


def test_hooks_of_streams_are_told_that_it_is_once_more(
    everything: Outbox, declare: Callable[..., Any], sent: Sent
) -> None:
    calls: list[Any] = []

    def on_save(self: Any, room: Room, created: bool, **kwargs: Any) -> None:
        calls.append(("save", room.name, created, kwargs.get("retried")))

    def on_delete(self: Any, room: Room, retried: bool) -> None:
        calls.append(("delete", room.name, retried))

    declare("Told", Room, attribute="told", on_save=on_save, on_delete=on_delete)
    everything.die()
    Room.objects.create(name="a")
    Room.objects.create(name="b").delete()
    everything.tell()

    assert calls == [
        ("save", "a", True, None),
        ("save", "b", True, None),
        ("delete", "b", False),
        ("save", "a", True, True),
        ("delete", "b", True),
    ]


def test_messages_that_waited_are_sent_in_order_with_the_hooks(
    everything: Outbox, sent: Sent
) -> None:
    def hook(change: ModelChange) -> None:
        broadcast("tests:A", f"hook {change.instance.name}")

    made = watch(Room, hook)
    everything.die()
    try:
        with transaction.atomic():
            broadcast("tests:A", "one")
            Room.objects.create(name="two")
            broadcast("tests:A", "three")
        sent.clear()
        everything.tell()
    finally:
        made.stop()

    assert sent == [
        ("tests:A", "one"),
        ("tests:A", "hook two"),
        ("tests:A", "three"),
    ]


def test_a_verb_for_audiences_that_waited_is_sent_as_it_was(
    everything: Outbox, sent: Sent
) -> None:
    everything.die()
    with transaction.atomic():
        Room.objects.create(name="a")
        context = {"text": "é", "note": "Delete"}
        Forum(1).append("testapp/post.html", context, id="posts")
        Forum(1).only("moderator").remove(id="post_1")
    before = list(sent)
    sent.clear()

    everything.tell()

    assert sent == before
    assert [sorted(by_audience(data)) for _, data in sent] == [
        ["member", "moderator"]
    ] * 2


def test_what_a_living_process_has_is_left_alone(
    everything: Outbox, listen: Listen
) -> None:
    heard = listen(Room)
    everything.die()
    Room.objects.create(name="a")
    tracking.shut_down()

    assert relay.tell_left("default") == 0

    assert len(everything.rows()) == 1
    assert retried(heard) == []


def test_what_this_process_still_sends_is_left_alone(
    everything: Outbox, listen: Listen
) -> None:
    """However long the hooks take, and whatever the clock says."""
    heard = listen(Room)

    def look() -> None:
        everything.age()
        relay.tell_left("default")

    with transaction.atomic():
        transaction.on_commit(look)
        Room.objects.create(name="a")

    assert [change.retried for change in heard] == [False]


class ToDefault:
    """A router that sends all writes to one database."""

    def db_for_write(self, model: type[Model], **hints: Any) -> str:
        return "default"


def test_a_failure_is_noted_where_the_row_is(everything: Outbox) -> None:
    """Regression: it was written over the row of another database with the same key."""

    def fail(change: ModelChange[Room]) -> None:
        if change.retried:
            raise ZeroDivisionError

    watching = watch(Room, fail)
    try:
        everything.die()
        for using in ("default", "other"):
            Room(name=using).save(using=using)
            OutboxEntry.objects.using(using).update(id=1)
        [before] = everything.rows()
        with override_settings(DATABASE_ROUTERS=[ToDefault()]):
            assert everything.tell("other") == 1
    finally:
        watching.stop()

    [row], [other] = everything.rows(), everything.rows("other")
    assert (row.content, row.owner) == (before.content, before.owner)
    assert (other.attempts, other.owner) == (1, "")


@pytest.mark.parametrize("error", [CancelledError, SystemExit])
def test_a_watcher_that_is_cancelled_has_failed(
    everything: Outbox, error: type[BaseException]
) -> None:
    def fail(change: ModelChange[Room]) -> None:
        if change.retried:
            raise error

    watching = watch(Room, fail)
    try:
        everything.die()
        Room.objects.create(name="a")
        assert everything.tell() == 1
    finally:
        watching.stop()

    [row] = everything.rows()
    assert (row.attempts, row.owner) == (1, "")


def test_three_relays_tell_each_row_once(everything: Outbox, listen: Listen) -> None:
    heard = listen(Room)
    everything.die()
    for number in range(30):
        Room.objects.create(name=str(number))
    tracking.shut_down()
    everything.age()

    counts = at_once(lambda tracker: relay.tell_left("default", tracker))

    assert sum(counts) == 30
    names = [change.instance.name for change in retried(heard)]
    assert sorted(names, key=int) == [str(number) for number in range(30)]


def test_no_more_is_told_than_can_be_sent(
    stuck: Outbox, listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the publisher would drop messages."""
    heard = listen(Room)
    monkeypatch.setattr(relay, "WAITING", 1)
    monkeypatch.setattr(relay, "INTERVAL", 0.01)
    broadcast("tests:A", "<b>")
    stuck.die()
    Room.objects.create(name="a")
    tracking.shut_down()
    stuck.age()

    assert relay.tell_left("default") == 0

    assert retried(heard) == []


# --- What cannot be told


class Broken(Exception):
    pass


def break_for(name: str) -> Callable[[ModelChange], None]:
    def hook(change: ModelChange) -> None:
        if change.retried and change.instance.name == name:
            raise Broken

    return hook


def test_what_fails_is_tried_alone_and_set_aside(
    everything: Outbox, listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest of its transaction, and the other transactions, are told once."""
    heard = listen(Room)
    made = watch(Room, break_for("poison"))
    everything.die()
    before = metrics.counters()
    try:
        Room.objects.create(name="a")
        with transaction.atomic():
            Room.objects.create(name="b")
            Room.objects.create(name="poison")
        Room.objects.create(name="c")
        for _ in range(7):
            everything.tell()
    finally:
        made.stop()

    names = [change.instance.name for change in retried(heard)]
    assert sorted(names) == ["a", "b", "c", *["poison"] * 5]
    [entry] = everything.rows()
    assert (entry.failed, entry.attempts) == (True, 5)
    [item] = json.loads(entry.content)["items"]
    assert item["model"] == "testapp.room"
    after = metrics.counters()
    assert after["set_aside"] - before["set_aside"] == 1
    [record] = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.exc_info is not None
    assert record.exc_info[0] is Broken


def test_each_attempt_follows_after_a_longer_pause(
    everything: Outbox, listen: Listen
) -> None:
    listen(Room)
    made = watch(Room, break_for("poison"))
    everything.die()
    try:
        Room.objects.create(name="poison")
        pauses = []
        for _ in range(4):
            everything.tell()
            rows = OutboxEntry.objects.annotate(now=Now())
            [(seen, now)] = rows.values_list("seen", "now")
            pauses.append(round((seen - now).total_seconds()))
    finally:
        made.stop()

    assert pauses == [2, 4, 8, 16]


def test_a_hook_of_a_stream_that_fails_is_tried_again(
    everything: Outbox, declare: Callable[..., Any], sent: Sent
) -> None:
    calls: list[bool] = []

    def on_save(self: Any, room: Room, created: bool, retried: bool) -> None:
        calls.append(retried)
        if len(calls) < 3:
            raise Broken

    declare("Fails", Room, attribute="fails", on_save=on_save)
    everything.die()
    Room.objects.create(name="a")
    everything.tell()
    everything.tell()

    assert calls == [False, True, True]
    assert everything.rows() == []


def test_what_has_ended_its_process_each_time_is_set_aside(
    everything: Outbox, listen: Listen, caplog: pytest.LogCaptureFixture
) -> None:
    heard = listen(Room)
    everything.die()
    Room.objects.create(name="a")
    Room.objects.create(name="b")
    first = everything.rows()[0]
    OutboxEntry.objects.filter(pk=first.pk).update(attempts=5)

    everything.tell()

    assert [entry.failed for entry in everything.rows()] == [True]
    assert [change.instance.name for change in retried(heard)] == ["b"]
    assert "has ended its process 5 times" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "{}",
        '{"items": [{"model": "gone.model"}], "rows": []}',
        '{"items": [{"model": "testapp.room", "pk": "x"}], "rows": []}',
    ],
)
def test_what_cannot_be_read_is_set_aside(content: str, everything: Outbox) -> None:
    OutboxEntry.objects.create(seen=Now(), owner="gone", content=content)

    for _ in range(5):
        everything.tell()

    [entry] = everything.rows()
    assert entry.failed


def test_what_only_waits_is_not_counted_against(
    everything: Outbox, listen: Listen
) -> None:
    """A process may be killed while Redis is away, and the next one, and so on."""
    listen(Room)
    everything.die()
    Room.objects.create(name="a")
    tracking.shut_down()

    for _ in range(7):
        everything.age()
        everything.die()
        relay.tell_left("default")
        tracking.shut_down()

    [entry] = everything.rows()
    assert (entry.failed, entry.attempts) == (False, 0)


# --- Who looks


def test_a_process_that_begins_looks(everything: Outbox, listen: Listen) -> None:
    heard = listen(Room)
    told = threading.Event()
    made = watch(Room, lambda change: told.set() if change.retried else None)
    everything.die()
    try:
        Room.objects.create(name="a")
        tracking.shut_down()
        everything.age()

        begin()
        when_begun(relay.start)  # as it was when the process began
        relay.start()

        assert told.wait(PATIENCE)
    finally:
        made.stop()
    assert [change.retried for change in heard] == [False, True]


def test_a_database_without_the_table_is_left_out(
    everything: Outbox,
    no_table: None,
    listen: Listen,
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard = listen(Room)
    told = threading.Event()
    made = watch(Room, lambda change: told.set() if change.retried else None)
    try:
        everything.die()
        Room.objects.using("other").create(name="a")
        tracking.shut_down()
        everything.age("other")

        relay.start()

        assert told.wait(PATIENCE)
    finally:
        made.stop()
    assert [change.using for change in retried(heard)] == ["other"]
    assert list(writing._missing) == ["default"]
    assert [r for r in caplog.records if r.levelno >= logging.ERROR] == []


def test_nobody_looks_without_an_outbox(outbox: Outbox) -> None:
    relay.start()

    assert not relay.rounds.is_running


def test_the_command_needs_an_outbox(outbox: Outbox) -> None:
    with pytest.raises(CommandError, match="There is no outbox"):
        call_command("turbo_relay")
