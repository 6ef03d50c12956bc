"""Many-to-many changes are updates of the instances of the watched model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import IntegrityError, connections, models, transaction
from django.db.models.signals import m2m_changed
from django.test.utils import isolate_apps

from tests.support.listening import Listen, listening, rolled_back
from tests.testapp.models import Child, Custody, Parent, Person, Room, Tag, Tagged
from turbo.runtime import context

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@pytest.fixture
def listen() -> Iterator[Listen]:
    yield from listening()


@pytest.fixture
def tag() -> Tag:
    return Tag.objects.create(name="red")


@pytest.fixture
def tagged() -> Tagged:
    return Tagged.objects.create(name="one")


def tag_names(tagged: Tagged) -> list[str]:
    return [tag.name for tag in tagged.tags.all()]


def test_each_way_to_change_the_field_is_one_update(
    listen: Listen, tagged: Tagged, tag: Tag
) -> None:
    heard = listen(Tagged)
    names = []

    for change in (
        lambda: tagged.tags.add(tag),
        lambda: tagged.tags.remove(tag),
        lambda: tagged.tags.set([tag]),
        lambda: tagged.tags.clear(),
    ):
        change()
        names.append(tag_names(heard[-1].instance))

    assert heard.actions == [("update", tagged.pk)] * 4
    assert {c.update_fields for c in heard} == {frozenset({"tags"})}
    assert names == [["red"], [], ["red"], []]


def test_adding_what_is_there_is_no_change(
    listen: Listen, tagged: Tagged, tag: Tag
) -> None:
    tagged.tags.add(tag)
    heard = listen(Tagged)

    tagged.tags.add(tag)

    assert heard == []


def test_a_change_from_the_other_side_updates_all_that_are_concerned(
    listen: Listen, tagged: Tagged, tag: Tag
) -> None:
    other = Tagged.objects.create(name="two")
    Tagged.objects.create(name="untouched")
    heard = listen(Tagged)

    for change in (
        lambda: tag.tagged.add(tagged, other),
        lambda: tag.tagged.remove(tagged.pk),
        lambda: tag.tagged.set([tagged, other]),
        lambda: tag.tagged.clear(),
    ):
        change()

    one, two = ("update", tagged.pk), ("update", other.pk)
    assert heard.actions[2:4] == [one, one]
    assert set(heard.actions[:2]) == set(heard.actions[4:]) == {one, two}
    assert [type(c.instance) for c in heard] == [Tagged] * 6


def test_the_other_side_is_not_changed_itself(
    listen: Listen, tagged: Tagged, tag: Tag
) -> None:
    heard = listen(Tag)

    tagged.tags.add(tag)
    tag.tagged.clear()

    assert heard == []


def test_a_delete_on_the_other_side_updates_those_that_lose_a_relation(
    listen: Listen, tagged: Tagged, tag: Tag
) -> None:
    tagged.tags.add(tag)
    Tagged.objects.create(name="untouched")
    heard = listen(Tagged)

    Tag.objects.all().delete()

    assert [(c.action, c.pk, c.update_fields) for c in heard] == [
        ("update", tagged.pk, {"tags"})
    ]
    assert tag_names(heard[0].instance) == []


def test_a_relation_made_in_the_transaction_that_creates_the_object_is_part_of_it(
    listen: Listen, tag: Tag
) -> None:
    heard = listen(Tagged)

    with transaction.atomic():
        tagged = Tagged.objects.create(name="one")
        tagged.tags.add(tag)
    assert heard.actions == [("create", tagged.pk)]

    with transaction.atomic():
        tagged.save(update_fields=["name"])
        tagged.tags.clear()
    assert heard[1].update_fields == {"name", "tags"}


def test_a_relation_added_after_an_uncommitted_save_is_rolled_back_with_it(
    listen: Listen, tagged: Tagged, tag: Tag
) -> None:
    heard = listen(Tagged)

    with transaction.atomic():
        with rolled_back():
            tagged.tags.add(tag)
        tagged.save(update_fields=["name"])

    assert [c.update_fields for c in heard] == [{"name"}]


def test_the_database_is_the_one_that_was_written(listen: Listen) -> None:
    tagged = Tagged.objects.using("other").create(name="one")
    tag = Tag.objects.using("other").create(name="red")
    heard = listen(Tagged)

    tagged.tags.add(tag)
    tag.tagged.clear()

    assert [c.using for c in heard] == ["other", "other"]


def test_nothing_is_read_while_suppressed(
    listen: Listen,
    tagged: Tagged,
    tag: Tag,
    django_assert_num_queries: Callable[..., Any],
) -> None:
    heard = listen(Tagged)

    with django_assert_num_queries(4), context.suppress():
        tag.tagged.add(tagged)
    assert heard == []
    tag.tagged.clear()

    with django_assert_num_queries(5):
        tag.tagged.add(tagged)
    assert len(heard) == 2


def test_before_is_asked_while_the_old_relations_are_there(
    listen: Listen, tagged: Tagged, tag: Tag
) -> None:
    heard = listen(Tagged, before=lambda row: (row.name, tag_names(row)))

    tagged.name = "never saved"
    tagged.tags.add(tag)
    tag.tagged.remove(tagged)
    tagged.tags.add(tag)
    tag.delete()

    none, red = ("one", []), ("one", ["red"])
    assert [c.before for c in heard] == [none, red, none, red]


def test_a_row_that_is_gone_has_no_before(
    listen: Listen, tagged: Tagged, tag: Tag
) -> None:
    Tagged.objects.filter(pk=tagged.pk)._raw_delete("default")
    heard = listen(Tagged, before=lambda row: row.name)

    tagged.tags.clear()

    assert [(c.action, c.before) for c in heard] == [("update", None)]


def test_a_change_that_fails_keeps_nothing_alive(
    listen: Listen, tagged: Tagged, tag: Tag
) -> None:
    listen(Tagged)

    def break_off(action: str, **kwargs: Any) -> None:
        if action == "post_add":
            raise IntegrityError

    m2m_changed.connect(break_off, sender=Tagged.tags.through)
    try:
        with pytest.raises(IntegrityError), transaction.atomic():
            Tagged.objects.get().tags.add(tag)
    finally:
        m2m_changed.disconnect(break_off, sender=Tagged.tags.through)

    assert vars(connections["default"])["_turbo_kept"] == {}


# --- Relations of a model to itself, through a model, and inherited


def test_a_symmetrical_relation_changes_both(listen: Listen) -> None:
    ann, bob = (Person.objects.create(name=name) for name in ("ann", "bob"))
    heard = listen(Person)

    ann.friends.add(bob)
    both = {("update", ann.pk), ("update", bob.pk)}
    assert set(heard.actions) == both

    heard.clear()
    bob.friends.clear()
    assert set(heard.actions) == both


def test_a_one_sided_relation_changes_the_one_that_has_it(listen: Listen) -> None:
    ann, bob = (Person.objects.create(name=name) for name in ("ann", "bob"))
    heard = listen(Person)

    ann.follows.add(bob)
    bob.followers.clear()
    bob.followers.add(ann)
    bob.delete()

    assert heard.actions[:3] == [("update", ann.pk)] * 3
    assert {action for action, _ in heard.actions[3:]} == {"update", "delete"}


def test_a_table_that_is_a_model_is_no_obstacle(listen: Listen) -> None:
    ann = Person.objects.create(name="ann")
    parent = Parent.objects.create(name="eve")
    heard = listen(Person)

    ann.parents.add(parent)
    Custody.objects.all().delete()
    ann.parents.add(parent)
    parent.delete()

    assert [c.update_fields for c in heard] == [{"parents"}] * 3


def test_a_table_shared_by_two_fields_is_told_apart(listen: Listen) -> None:
    heard = listen(Person)
    ann = Person.objects.create(name="ann")
    heard.clear()

    m2m_changed.send(
        Person.parents.through,
        instance=Parent(pk=1),
        action="pre_add",
        reverse=False,
        model=Person,
        pk_set={ann.pk},
        using="default",
    )

    assert vars(connections["default"]).get("_turbo_kept", {}) == {}


@isolate_apps("tests.testapp")
def test_an_inherited_field_changes_the_child_and_the_parent(listen: Listen) -> None:
    class TaggedChild(Tagged):
        class Meta:
            app_label = "testapp"

    with connections["default"].schema_editor() as editor:
        editor.create_model(TaggedChild)
    try:
        child = TaggedChild.objects.create(name="one")
        tag = Tag.objects.create(name="red")
        children, parents = listen(TaggedChild), listen(Tagged)

        child.tags.add(tag)
        assert children.actions == parents.actions == [("update", child.pk)]
        assert [type(c.instance) for c in parents] == [Tagged]

        tag.tagged.remove(child.pk)
        assert children.actions == parents.actions == [("update", child.pk)] * 2

        Tagged.objects.get().tags.add(tag)
        assert (len(children), len(parents)) == (2, 3)
    finally:
        with connections["default"].schema_editor() as editor:
            editor.delete_model(TaggedChild)


@isolate_apps("tests.testapp")
def test_fields_of_other_makes_are_left_alone(listen: Listen) -> None:
    class Labels(models.Field):
        many_to_many = True

        def __init__(self) -> None:
            super().__init__()
            self.is_relation = True

    class Labelled(models.Model):
        labels = Labels()

        class Meta:
            app_label = "testapp"

    assert [f.name for f in Labelled._meta.many_to_many] == ["labels"]
    listen(Labelled)


def test_unwatched_relations_are_not_listened_to(listen: Listen) -> None:
    listen(Child)

    assert not m2m_changed.has_listeners(Person.friends.through)
    assert Room.members.through
