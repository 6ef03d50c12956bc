"""Whose signals are heard: proxies, parents, abstract bases, keys of every kind."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core import serializers
from django.db import models, transaction
from django.db.models.signals import (
    class_prepared,
    m2m_changed,
    post_save,
    pre_delete,
)
from django.test.utils import isolate_apps

from tests.support.listening import Listen, listening
from tests.testapp.models import (
    AbstractBase,
    Child,
    CompositeItem,
    Concrete,
    Parent,
    ProxyRoom,
    Room,
    Tag,
    Tagged,
    UuidItem,
)
from turbo.changes import announce

real_commits = pytest.mark.django_db(transaction=True)


@pytest.fixture
def listen() -> Iterator[Listen]:
    yield from listening()


def fail() -> None:
    raise RuntimeError


# --- Proxies


@real_commits
def test_a_model_is_heard_through_its_proxy(listen: Listen) -> None:
    heard = listen(Room)

    room = ProxyRoom.objects.create(name="Lobby")
    Room.objects.get().save()
    ProxyRoom.objects.get().delete()

    assert [(c.action, c.model, type(c.instance)) for c in heard] == [
        ("create", Room, ProxyRoom),
        ("update", Room, Room),
        ("delete", Room, ProxyRoom),
    ]
    assert {c.pk for c in heard} == {room.pk}


@real_commits
def test_a_proxy_stands_for_its_model_and_is_given_proxies(listen: Listen) -> None:
    heard = listen(ProxyRoom)

    with transaction.atomic():
        room = Room.objects.create(name="Lobby")
        ProxyRoom.objects.get().save()
    room.delete()

    assert [(c.action, c.model, type(c.instance)) for c in heard] == [
        ("create", Room, ProxyRoom),
        ("delete", Room, ProxyRoom),
    ]
    assert heard[1].instance.name == "Lobby"


@real_commits
def test_before_is_given_the_watched_proxy(listen: Listen) -> None:
    room = Room.objects.create(name="Lobby")
    heard = listen(ProxyRoom, before=lambda row: (type(row), row.name))

    room.save()

    assert [c.before for c in heard] == [(ProxyRoom, "Lobby")]


@real_commits
def test_a_proxy_made_later_is_heard(listen: Listen) -> None:
    heard = listen(Room)

    with isolate_apps("tests.testapp"):

        class LaterRoom(Room):
            class Meta:
                proxy = True
                app_label = "testapp"

        LaterRoom(name="Lobby").save()

    assert [type(c.instance) for c in heard] == [LaterRoom]


# --- Parents and children with tables of their own


@real_commits
def test_a_child_is_a_row_of_its_parent_as_well(listen: Listen) -> None:
    children, parents = listen(Child), listen(Parent)

    child = Child.objects.create(name="Ann", nickname="A")
    child.save()
    pk = child.pk
    child.delete()

    actions = [("create", pk), ("update", pk), ("delete", pk)]
    assert children.actions == parents.actions == actions
    assert [type(c.instance) for c in children] == [Child] * 3
    assert [(c.model, type(c.instance), c.instance.name) for c in parents] == [
        (Parent, Parent, "Ann")
    ] * 3
    assert parents[0].instance == Parent(pk=pk)


@real_commits
def test_a_parent_hears_only_of_its_own_columns(listen: Listen) -> None:
    child = Child.objects.create(name="Ann", nickname="A")
    children, parents = listen(Child), listen(Parent)

    child.save(update_fields=["nickname"])
    child.save(update_fields=["name", "nickname"])

    assert [c.update_fields for c in children] == [{"nickname"}, {"name", "nickname"}]
    assert [c.update_fields for c in parents] == [{"name"}]


@real_commits
def test_a_child_added_to_a_parent_that_is_there_creates_no_parent(
    listen: Listen,
) -> None:
    parent = Parent.objects.create(name="Ann")
    children, parents = listen(Child), listen(Parent)

    Child(parent_ptr=parent, name="Ann", nickname="A").save()

    assert children.actions == [("create", parent.pk)]
    assert parents.actions == [("update", parent.pk)]


@real_commits
def test_a_child_deleted_alone_leaves_the_parent(listen: Listen) -> None:
    child = Child.objects.create(name="Ann")
    pk = child.pk
    children, parents = listen(Child), listen(Parent)

    child.delete(keep_parents=True)

    assert (children.actions, parents.actions) == ([("delete", pk)], [])


@real_commits
def test_a_parent_deleted_takes_the_child_along(listen: Listen) -> None:
    pk = Child.objects.create(name="Ann").pk
    children, parents = listen(Child), listen(Parent)

    Parent.objects.get().delete()

    assert children.actions == parents.actions == [("delete", pk)]


@real_commits
def test_before_is_given_a_row_of_the_watched_model(
    listen: Listen, django_assert_num_queries: Callable[..., Any]
) -> None:
    child = Child.objects.create(name="Ann", nickname="A")
    parents = listen(Parent, before=lambda row: (type(row), row.name))

    child.name = "Bob"
    with django_assert_num_queries(5):  # one is the row; a child is two, in a block
        child.save()

    assert [(c.before, c.instance.name) for c in parents] == [((Parent, "Ann"), "Bob")]


@real_commits
def test_a_fixture_has_an_entry_for_each_table(listen: Listen) -> None:
    children, parents = listen(Child, raw=True), listen(Parent, raw=True)
    child = {"model": "testapp.child", "pk": 1, "fields": {"nickname": "A"}}
    parent = {"model": "testapp.parent", "pk": 1, "fields": {"name": "Ann"}}

    with transaction.atomic():
        for deserialized in serializers.deserialize("python", [child, parent]):
            deserialized.save()

    assert children.actions == parents.actions == [("create", 1)]
    assert parents[0].instance.name == "Ann"


@real_commits
def test_announcing_a_child_announces_its_parent(listen: Listen) -> None:
    child = Child.objects.create(name="Ann")
    children, parents = listen(Child), listen(Parent)

    announce(child)

    assert children.actions == parents.actions == [("update", child.pk)]


@real_commits
def test_a_related_object_that_was_loaded_goes_with_the_parent_row(
    listen: Listen,
) -> None:
    with isolate_apps("tests.testapp"):

        class Owned(models.Model):
            room = models.ForeignKey(Room, models.CASCADE, related_name="+")

            class Meta:
                app_label = "testapp"

        class OwnedChild(Owned):
            class Meta:
                app_label = "testapp"

    room = Room(pk=7, name="Lobby")
    heard = listen(Owned)

    announce(OwnedChild(pk=1, owned_ptr_id=1, id=1, room=room))

    assert [type(c.instance) for c in heard] == [Owned]
    assert heard[0].instance.room is room


# --- Abstract bases


@real_commits
def test_an_abstract_model_stands_for_all_that_inherit_from_it(listen: Listen) -> None:
    heard = listen(AbstractBase)

    concrete = Concrete.objects.create(name="one")
    Room.objects.create(name="Lobby")

    assert [(c.model, c.instance) for c in heard] == [(Concrete, concrete)]


@real_commits
def test_a_model_made_after_the_watch_on_its_base_is_heard(listen: Listen) -> None:
    heard = listen(AbstractBase)

    with isolate_apps("tests.testapp"):

        class Later(AbstractBase):
            class Meta:
                app_label = "testapp"
                db_table = Concrete._meta.db_table

        later = Later.objects.create(name="one")

    assert [(c.model, c.instance) for c in heard] == [(Later, later)]


@isolate_apps("tests.testapp")
def test_a_model_that_is_swapped_for_another_is_no_sender(
    listen: Listen, settings: Any
) -> None:
    settings.TEST_SWAPPED = "testapp.Concrete"
    listen(AbstractBase)

    class Swapped(AbstractBase):
        class Meta:
            app_label = "testapp"
            swappable = "TEST_SWAPPED"

    listen(AbstractBase)

    assert not post_save.has_listeners(Swapped)


def test_classes_that_nobody_watches_leave_no_trace(listen: Listen) -> None:
    listen(Room)

    with isolate_apps("tests.testapp"):

        class Unwatched(models.Model):
            class Meta:
                app_label = "testapp"

    assert class_prepared.has_listeners(Unwatched)
    assert not post_save.has_listeners(Unwatched)


# --- Keys


@real_commits
def test_a_key_known_before_the_save_is_no_sign_of_an_update(listen: Listen) -> None:
    heard = listen(UuidItem, before=lambda item: item.name)

    item = UuidItem.objects.create(name="one")
    item.save()

    assert heard.actions == [("create", item.pk), ("update", item.pk)]
    assert [c.before for c in heard] == [None, "one"]


@real_commits
def test_a_key_given_as_text_is_the_same_object(listen: Listen) -> None:
    heard = listen(UuidItem)
    key = uuid.uuid4()

    with transaction.atomic():
        UuidItem(id=str(key), name="one").save()
        UuidItem.objects.get().save()

    assert heard.actions == [("create", key)]


@real_commits
def test_a_new_key_costs_before_no_query(
    listen: Listen, django_assert_num_queries: Callable[..., Any]
) -> None:
    listen(UuidItem, before=lambda item: item.name)

    with django_assert_num_queries(1):
        UuidItem.objects.create(name="one")


@real_commits
def test_composite_keys(listen: Listen) -> None:
    heard = listen(CompositeItem, before=lambda item: item.name)

    with transaction.atomic():
        item = CompositeItem.objects.create(tenant="1", number=2, name="one")
        CompositeItem.objects.get().save()
    CompositeItem.objects.get().delete()

    assert item.number == 2
    assert heard.actions == [("create", (1, 2)), ("delete", (1, 2))]
    assert [c.before for c in heard] == [None, "one"]
    assert [(c.instance.pk, c.instance.tenant) for c in heard] == [((1, 2), 1)] * 2
    assert heard[0].fresh() is None


# --- Classes whose relations are not made yet


@isolate_apps("tests.testapp")
def test_a_relation_to_a_model_not_yet_made_is_connected_when_it_is(
    listen: Listen,
) -> None:
    class Page(models.Model):
        words = models.ManyToManyField("testapp.Word")

        class Meta:
            app_label = "testapp"

    heard = listen(Page)
    assert heard == []

    class Word(models.Model):
        class Meta:
            app_label = "testapp"

    assert m2m_changed.has_listeners(Page.words.through)
    assert pre_delete.has_listeners(Word)
    heard.watch.stop()
    assert not m2m_changed.has_listeners(Page.words.through)


@isolate_apps("tests.testapp")
def test_a_proxy_of_the_other_side_made_later_is_connected(listen: Listen) -> None:
    listen(Tagged)

    class LaterTag(Tag):
        class Meta:
            proxy = True
            app_label = "testapp"

    assert pre_delete.has_listeners(LaterTag)
