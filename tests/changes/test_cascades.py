"""The related rows that a deleted object has in its hooks."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections, models, transaction
from django.db.models.deletion import Collector
from django.db.models.signals import pre_delete
from django.test.utils import isolate_apps

from tests.support.listening import Listen, listening, rolled_back
from tests.testapp.models import (
    Board,
    Custody,
    Message,
    Parent,
    Person,
    Pin,
    ProxyRoom,
    Room,
)
from turbo.changes import announce
from turbo.changes.foreign_keys import cascading_keys
from turbo.testing import capture_broadcasts

pytestmark = pytest.mark.django_db(transaction=True)

NumQueries = Callable[..., Any]


@pytest.fixture
def listen() -> Iterator[Listen]:
    yield from listening()


@pytest.fixture
def room() -> Room:
    room = Room.objects.create(name="Lobby")
    for text in ("one", "two"):
        Message.objects.create(room=room, text=text)
    return room


@pytest.mark.parametrize(
    "delete",
    [
        lambda pk: Room.objects.get(pk=pk).delete(),
        lambda pk: Room.objects.filter(pk=pk).delete(),
        lambda pk: ProxyRoom.objects.get(pk=pk).delete(),
    ],
    ids=["instance", "queryset", "proxy"],
)
def test_a_cascade_keeps_the_row_that_is_deleted_with_it(
    listen: Listen,
    room: Room,
    delete: Callable[[Any], Any],
    django_assert_num_queries: NumQueries,
) -> None:
    heard = listen(Message)

    delete(room.pk)

    with django_assert_num_queries(0):
        rooms = [change.instance.room for change in heard]
    assert [(r.pk, r.name) for r in rooms] == [(room.pk, "Lobby")] * 2
    assert rooms[0] is rooms[1]
    assert rooms[0].stream.stream_name == f"testapp:RoomStream:{room.pk}"


def test_a_hook_finds_the_stream_of_the_deleted_parent(room: Room) -> None:
    keys = list(room.messages.values_list("pk", flat=True))

    with capture_broadcasts(room) as sent:
        room.delete()

    assert {element.target for element in sent} == {f"message-{key}" for key in keys}
    assert len(sent) == len(keys)


@pytest.mark.parametrize("is_loaded", [False, True])
def test_a_row_that_stays_is_not_loaded(
    listen: Listen, is_loaded: bool, django_assert_num_queries: NumQueries
) -> None:
    ann, eve = Person.objects.create(name="Ann"), Parent.objects.create(name="Eve")
    Custody.objects.create(person=ann, parent=eve)
    custody = Custody.objects.select_related("person" if is_loaded else None).get()
    heard = listen(Custody)

    custody.delete()

    with django_assert_num_queries(0 if is_loaded else 1):
        assert heard[0].instance.person == ann


def test_what_was_loaded_keeps_its_key(listen: Listen, room: Room) -> None:
    """Django takes the key from the caller's own object when it is deleted."""
    key = room.pk
    message = Message.objects.filter(text="one").get()
    message.room = room
    heard = listen(Message)

    with transaction.atomic():
        message.delete()
        room.delete()

    assert [change.instance.room.pk for change in heard] == [key, key]
    assert room.pk is None
    assert message.room is room


def test_an_object_that_is_not_saved_has_no_key(listen: Listen, room: Room) -> None:
    message = Message.objects.filter(text="one").get()
    heard = listen(Message)
    message.author = User(username="ann")

    announce(message)

    assert heard[0].instance.author.pk is None


def test_a_key_that_is_not_the_primary_key(
    listen: Listen, django_assert_num_queries: NumQueries
) -> None:
    board = Board.objects.create(name="Work", code="w")
    Pin.objects.create(board=board, color="red")
    heard = listen(Pin)

    with django_assert_num_queries(6), capture_broadcasts():
        board.delete()  # BEGIN, cards, pins, two DELETEs, COMMIT

    assert [change.instance.board.name for change in heard] == ["Work"]


@pytest.mark.usefixtures("room")
def test_a_delete_that_was_rolled_back_left_nothing(listen: Listen) -> None:
    room = Room.objects.get()
    key = room.pk
    heard = listen(Message)

    with rolled_back():
        room.delete()
    room.pk = key
    room.name = "Lounge"
    room.save()
    room.delete()

    assert [change.instance.room.name for change in heard] == ["Lounge"] * 2
    heard.clear()
    kept = vars(connections["default"])["_turbo_kept"]
    del room
    gc.collect()
    assert kept == {}


@pytest.mark.usefixtures("room")
def test_a_row_that_its_related_rows_refer_to_is_not_kept(listen: Listen) -> None:
    heard = listen(Message)
    room = Room.objects.prefetch_related("messages").get()
    gone = weakref.ref(room)

    room.delete()

    assert [change.instance.room.name for change in heard] == ["Lobby"] * 2
    heard.clear()
    del room
    gc.collect()
    assert gone() is None
    assert vars(connections["default"])["_turbo_kept"] == {}


def test_a_collector_of_somebody_else_keeps_nothing(listen: Listen, room: Room) -> None:
    heard = listen(Message)
    collector = Collector(using="default")
    collector.collect([room])

    collector.delete()

    assert len(heard) == 2
    assert "room" not in heard[0].instance._state.fields_cache


@isolate_apps("tests.testapp")
def test_rows_over_several_steps_and_in_a_circle(
    listen: Listen, django_assert_num_queries: NumQueries
) -> None:
    class Country(models.Model):
        name = models.CharField(max_length=100)
        capital = models.ForeignKey("City", models.CASCADE, null=True)

        class Meta:
            app_label = "testapp"

    class City(models.Model):
        country = models.ForeignKey(Country, models.CASCADE)

        class Meta:
            app_label = "testapp"

    class Street(models.Model):
        city = models.ForeignKey(City, models.CASCADE)

        class Meta:
            app_label = "testapp"

    heard = listen(Street)
    assert pre_delete.has_listeners(Country)
    with connection.schema_editor() as editor:
        for model in (Country, City, Street):
            editor.create_model(model)
    country = Country.objects.create(name="Utopia")
    country.capital = City.objects.create(country=country)
    country.save()
    Street.objects.create(city=country.capital)
    key = country.pk

    Country.objects.filter(pk=key).delete()

    with django_assert_num_queries(0):
        city = heard[0].instance.city
        assert (city.country.pk, city.country.name) == (key, "Utopia")
        assert city.country.capital is city
    heard.watch.stop()
    assert not pre_delete.has_listeners(Country)
    with connection.schema_editor() as editor:
        for model in (Street, City, Country):
            editor.delete_model(model)


def test_only_cascades_are_followed(listen: Listen) -> None:
    heard = listen(Custody)
    assert pre_delete.has_listeners(Person)
    assert [field.name for field in cascading_keys(Message)] == ["room"]

    heard.watch.stop()
    assert not pre_delete.has_listeners(Person)
