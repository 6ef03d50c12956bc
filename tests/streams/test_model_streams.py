"""An instance has a stream, and its changes run the hooks after the commit."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import F, Value
from django.db.models.functions import Concat

import turbo
from tests.support.listening import rolled_back
from tests.testapp.models import (
    AbstractBase,
    Child,
    CompositeItem,
    Concrete,
    Message,
    Parent,
    ProxyRoom,
    Room,
    Tag,
    UuidItem,
)
from tests.testapp.streams import (
    CompositeItemStream,
    MessageStream,
    RoomStream,
    UuidItemStream,
)
from turbo.exceptions import ConfigurationError, UnsavedInstanceError
from turbo.runtime import context
from turbo.streams.registry import from_name

UUID = uuid.UUID("0123456789abcdef0123456789abcdef")


# --- Names


def test_the_name_holds_the_primary_key() -> None:
    assert Room(pk=7).stream.stream_name == "testapp:RoomStream:7"
    assert (
        UuidItem(pk=UUID).stream.stream_name
        == "testapp:UuidItemStream:01234567-89ab-cdef-0123-456789abcdef"
    )
    assert (
        CompositeItem(tenant=1, number=2).stream.stream_name
        == "testapp:CompositeItemStream:[1,2]"
    )


@pytest.mark.parametrize(
    ("stream", "pk"),
    [
        (RoomStream.from_pk(7), 7),
        (UuidItemStream.from_pk(UUID), UUID),
        (CompositeItemStream.from_pk((1, 2)), (1, 2)),
    ],
)
def test_a_name_gives_the_stream_with_its_key_again(stream: Any, pk: Any) -> None:
    again = from_name(stream.stream_name)

    assert (type(again), again.pk) == (type(stream), pk)


@pytest.mark.parametrize(
    "instance", [Room(), CompositeItem(tenant=1), UuidItem(pk=None)]
)
def test_an_instance_without_a_key_is_refused_with_its_model(instance: Any) -> None:
    with pytest.raises(UnsavedInstanceError, match=instance._meta.label) as caught:
        instance.stream.append(text="x", id="y")

    assert "Save it first" in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_proxies_and_children_have_the_stream_of_their_table(
    declare: Callable[..., Any],
) -> None:
    declare("ParentStream", Parent)

    assert ProxyRoom(pk=7).stream.stream_name == "testapp:RoomStream:7"
    assert Child(pk=3).stream.stream_name == "tests:ParentStream:3"


def test_on_the_class_it_is_the_stream_class() -> None:
    assert Room.stream is RoomStream
    assert ProxyRoom.stream is RoomStream


@pytest.mark.django_db
def test_an_abstract_base_gives_each_table_streams_of_its_own(
    declare: Callable[..., Any],
    sent: list[Any],
    django_capture_on_commit_callbacks: Any,
) -> None:
    def on_save(self: Any, item: Any, created: bool) -> None:
        self.update(text=item.name, id="name")

    declare("BaseStream", AbstractBase, on_save=on_save)
    with django_capture_on_commit_callbacks(execute=True):
        item = Concrete.objects.create(name="a")

    name = f"tests:BaseStream:testapp.Concrete:{item.pk}"
    assert [sent_name for sent_name, _ in sent] == [name]
    again: Any = from_name(name)
    assert (again.model, again.instance) == (Concrete, item)
    assert again.stream_name == name
    again.load([again, from_name(name)])


# --- Instances


@pytest.mark.django_db
def test_the_instance_is_loaded_when_it_is_asked_for(
    django_assert_num_queries: Any,
) -> None:
    room = Room.objects.create(name="Lobby")

    with django_assert_num_queries(0):
        given = room.stream
        assert given.instance is room
        assert given.exists()
    with django_assert_num_queries(1):
        stream = RoomStream.from_pk(room.pk)
        assert stream.instance == stream.instance == room


@pytest.mark.django_db
def test_an_instance_that_is_gone_does_not_exist() -> None:
    assert not RoomStream.from_pk(999).exists()


@pytest.mark.django_db
def test_the_instances_of_many_streams_are_loaded_together(
    django_assert_num_queries: Any,
) -> None:
    rooms = [Room.objects.create(name=name) for name in "abc"]
    streams = [RoomStream.from_pk(room.pk) for room in rooms]
    gone = RoomStream.from_pk(999)

    with django_assert_num_queries(1):
        RoomStream.load([*streams, gone, rooms[0].stream])
        assert [stream.instance for stream in streams] == rooms
    assert not gone.exists()


# --- Declaring


@pytest.mark.parametrize("model", [None, "testapp.Room", object])
def test_a_class_needs_a_model(declare: Callable[..., Any], model: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Odd needs a model: set Meta\.model"):
        declare("Odd", model)


def test_a_base_needs_none() -> None:
    class Base(turbo.ModelStream):
        class Meta:
            abstract = True

    assert Base.options.abstract


def test_a_second_stream_has_an_attribute_of_its_own(
    declare: Callable[..., Any],
) -> None:
    audit = declare("Audit", Room, attribute="audit_stream")

    assert Room(pk=1).audit_stream.stream_name == "tests:Audit:1"
    assert Room.audit_stream is audit
    assert Room.stream is RoomStream


def test_what_stands_in_the_way_is_left_alone(declare: Callable[..., Any]) -> None:
    declare("Second", Room)
    declare("Named", Tag, attribute="name")

    assert Room.stream is RoomStream
    assert Tag(name="x").name == "x"


# --- Hooks


@pytest.mark.django_db
def test_hooks_run_after_the_commit_and_not_before(
    sent: list[Any], django_capture_on_commit_callbacks: Any
) -> None:
    room = Room.objects.create(name="Lobby")

    with django_capture_on_commit_callbacks(execute=True):
        message = Message.objects.create(room=room, text="Hi")
        assert sent == []

    assert [name for name, _ in sent] == [f"testapp:RoomStream:{room.pk}"]
    assert f'id="message-{message.pk}"' in sent[0][1]


@pytest.mark.django_db(transaction=True)
def test_what_is_rolled_back_is_not_told(sent: list[Any]) -> None:
    room = Room.objects.create(name="Lobby")

    with rolled_back():
        Message.objects.create(room=room, text="Hi")

    assert sent == []


@pytest.mark.django_db(transaction=True)
def test_a_deleted_message_still_has_its_key(sent: list[Any]) -> None:
    room = Room.objects.create(name="Lobby")
    message = Message.objects.create(room=room, text="Hi")
    pk = message.pk
    sent.clear()

    message.delete()

    assert sent == [
        (
            f"testapp:RoomStream:{room.pk}",
            f'<turbo-stream action="remove" target="message-{pk}"></turbo-stream>',
        )
    ]


@pytest.mark.django_db(transaction=True)
def test_a_partial_save_shows_the_row_as_it_is_stored(sent: list[Any]) -> None:
    room = Room.objects.create(name="Lobby")
    message = Message.objects.create(room=room, text="old")
    Message.objects.filter(pk=message.pk).update(text="by another")
    sent.clear()

    message.edited = True
    message.save(update_fields=["edited"])

    assert "by another (edited)" in sent[0][1]


@pytest.mark.django_db(transaction=True)
def test_an_expression_shows_its_value(sent: list[Any]) -> None:
    room = Room.objects.create(name="Lobby")
    message = Message.objects.create(room=room, text="a")
    sent.clear()

    message.text = Concat(F("text"), Value("b"))
    message.save()

    assert ">ab<" in sent[0][1]


@pytest.mark.django_db(transaction=True)
def test_hooks_take_what_their_signature_has_room_for(
    declare: Callable[..., Any],
) -> None:
    heard: list[Any] = []
    declare(
        "Tags",
        Tag,
        on_save=lambda self, tag, created, **kw: heard.append((tag.name, created, kw)),
        on_delete=lambda self, tag: heard.append((tag.name, self.pk)),
    )

    tag = Tag.objects.create(name="a")
    pk = tag.pk
    tag.save(update_fields=["name"])
    tag.delete()

    assert heard == [
        ("a", True, {"using": "default", "update_fields": None}),
        ("a", False, {"using": "default", "update_fields": frozenset(["name"])}),
        ("a", pk),
    ]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("hook", ["on_save", "on_delete"])
def test_one_hook_alone_is_enough(declare: Callable[..., Any], hook: str) -> None:
    heard: list[str] = []
    declare("Tags", Tag, **{hook: lambda self, tag, *args: heard.append(tag.name)})

    Tag.objects.create(name="a").delete()

    assert heard == ["a"]


@pytest.mark.django_db(transaction=True)
def test_a_row_that_is_gone_before_it_is_read_again_is_not_told(
    sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    room = Room.objects.create(name="Lobby")
    message = Message.objects.create(room=room, text="a")
    sent.clear()
    heard: list[str] = []
    monkeypatch.setattr(MessageStream, "on_save", lambda *args, **kw: heard.append("x"))

    with transaction.atomic():
        message.save(update_fields=["text"])
        Message.objects.filter(pk=message.pk)._raw_delete("default")

    assert heard == []


@pytest.mark.django_db(transaction=True)
def test_a_failing_hook_is_logged_with_its_stream_and_the_save_goes_on(
    declare: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    def on_save(self: Any, tag: Tag, created: bool) -> None:
        self.append("testapp/nothing.html", id="x")

    declare("Tags", Tag, on_save=on_save)

    tag = Tag.objects.create(name="a")

    assert Tag.objects.get() == tag
    (record,) = [r for r in caplog.records if r.levelname == "ERROR"]
    assert "tests:Tags" in record.getMessage()
    assert "TemplateDoesNotExist" in record.exc_text


@pytest.mark.django_db(transaction=True)
def test_a_hook_that_is_a_coroutine_is_logged(
    declare: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Regression: it was never run, and nobody said so."""

    async def on_save(self: Any, room: Room, created: bool) -> None:
        """Do nothing."""

    declare("Asynchronous", Room, attribute="a_stream", on_save=on_save)
    caplog.clear()

    Room.objects.create(name="Lobby")

    [record] = caplog.records
    assert record.exc_info is not None
    assert str(record.exc_info[1]).endswith(
        "on_save() is a coroutine, so it is not run."
    )


@pytest.mark.django_db(transaction=True)
def test_a_broadcast_of_a_hook_carries_its_origin(declare: Callable[..., Any]) -> None:
    causes: list[Any] = []
    declare("Tags", Tag, on_save=lambda *args: causes.append(context.cause()))

    tag = Tag.objects.create(name="a")

    assert causes[0].key == f"testapp.Tag:{tag.pk}"
    assert causes[0].writer
    assert context.cause() is None


@pytest.mark.django_db
def test_a_streams_user_test_sees_the_instance() -> None:
    ada = User.objects.create(username="ada")
    room = Room.objects.create(name="Cellar", public=False)

    assert not room.stream.user_passes_test(ada)
    room.members.add(ada)
    assert room.stream.user_passes_test(ada)
