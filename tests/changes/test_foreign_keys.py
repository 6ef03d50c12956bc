"""Watches that read nothing but foreign keys: the stored row is read if one changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import models, transaction
from django.db.models.deletion import Collector
from django.test.utils import isolate_apps

from tests.support.listening import Listen, listening, rolled_back
from tests.testapp.models import Card, Child, Custody, Parent, Person
from turbo.changes import announce
from turbo.changes.foreign_keys import foreign_keys, note_assignments

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

NumQueries = Callable[..., Any]


@pytest.fixture
def listen() -> Iterator[Listen]:
    yield from listening()


@pytest.fixture
def ann() -> Person:
    return Person.objects.create(name="Ann")


@pytest.fixture
def bob() -> Person:
    return Person.objects.create(name="Bob")


@pytest.fixture
def custody(ann: Person) -> Custody:
    Custody.objects.create(person=ann, parent=Parent.objects.create(name="Eve"))
    return Custody.objects.get()


def person_of(row: Any) -> Any:
    return row.person_id


def listen_for_person(listen: Listen, model: Any = Custody) -> Any:
    return listen(model, before=person_of, reads=["person"])


def test_a_key_that_was_not_assigned_costs_no_query(
    listen: Listen,
    custody: Custody,
    ann: Person,
    django_assert_num_queries: NumQueries,
) -> None:
    heard = listen_for_person(listen)

    with django_assert_num_queries(1):
        custody.save()
    custody.person_id = ann.pk  # the value that it has
    with django_assert_num_queries(1):
        custody.save(update_fields=["parent"])
    with django_assert_num_queries(3):  # BEGIN, DELETE, COMMIT
        custody.delete()

    assert [(c.action, c.before) for c in heard] == [
        ("update", ann.pk),
        ("update", ann.pk),
        ("delete", ann.pk),
    ]


def test_an_assigned_key_is_read_from_the_row(
    listen: Listen,
    custody: Custody,
    bob: Person,
    django_assert_num_queries: NumQueries,
) -> None:
    eve = Person.objects.create(name="Eve")
    Custody.objects.update(person=bob)
    heard = listen_for_person(listen)

    custody.person = eve
    with django_assert_num_queries(2) as queries:
        custody.save()
    with django_assert_num_queries(1):
        custody.save()

    assert [c.before for c in heard] == [bob.pk, eve.pk]
    assert '"parent_id"' not in queries.captured_queries[0]["sql"].partition("FROM")[0]


def test_an_assigned_key_that_is_not_saved_is_read_from_the_row(
    listen: Listen,
    custody: Custody,
    ann: Person,
    bob: Person,
    django_assert_num_queries: NumQueries,
) -> None:
    heard = listen_for_person(listen)

    custody.person = bob
    with django_assert_num_queries(2):
        custody.save(update_fields=["parent"])
    with django_assert_num_queries(4):
        custody.delete()

    assert [c.before for c in heard] == [ann.pk, ann.pk]


def test_a_new_object_costs_no_query(
    listen: Listen, custody: Custody, ann: Person, django_assert_num_queries: NumQueries
) -> None:
    heard = listen_for_person(listen)

    other = Custody(parent=custody.parent)
    other.person = ann
    with django_assert_num_queries(1):
        other.save()
    with django_assert_num_queries(1):
        other.save()

    assert [(c.action, c.before) for c in heard] == [
        ("create", None),
        ("update", ann.pk),
    ]


def test_a_save_that_is_rolled_back_has_stored_nothing(
    listen: Listen, custody: Custody, ann: Person, bob: Person
) -> None:
    heard = listen_for_person(listen)

    custody.person = bob
    with rolled_back():
        custody.save()
    custody.save()

    assert [c.before for c in heard] == [ann.pk]


@pytest.mark.parametrize("is_loaded", [False, True])
def test_what_was_not_loaded_from_there_is_read_from_the_row(
    listen: Listen,
    custody: Custody,
    ann: Person,
    bob: Person,
    is_loaded: bool,
    django_assert_num_queries: NumQueries,
) -> None:
    """An instance made by hand, and one without the column."""
    heard = listen_for_person(listen)
    same = Custody(pk=custody.pk, person=bob, parent_id=custody.parent_id)
    if is_loaded:
        same = Custody.objects.only("parent").get()

    with django_assert_num_queries(2):
        same.save()

    assert [c.before for c in heard] == [ann.pk]


def test_a_row_of_another_database_is_another_row(
    listen: Listen, ann: Person, bob: Person
) -> None:
    eve = Parent.objects.create(name="Eve")
    for using, person in [("default", ann), ("other", bob)]:
        for row in (ann, bob, eve):
            row.save(using=using)
        Custody.objects.using(using).create(pk=1, person_id=person.pk, parent=eve)
    heard = listen_for_person(listen)

    Custody.objects.using("default").get().save(using="other")

    assert [(c.using, c.before) for c in heard] == [("other", bob.pk)]


def test_an_announced_object_is_as_it_was(
    listen: Listen, custody: Custody, ann: Person, bob: Person
) -> None:
    heard = listen_for_person(listen)

    announce(custody)
    custody.person = bob
    announce(custody)

    assert [c.before for c in heard] == [ann.pk, None]


def test_bulk_operations_read_the_rows_if_the_key_changes(
    listen: Listen, django_assert_num_queries: NumQueries
) -> None:
    card = Card.objects.create(title="Rake")
    heard = listen(Card, before=lambda card: card.board_id, reads=["board"])

    with transaction.atomic(), django_assert_num_queries(3):
        Card.objects.update(title="Spade")
    with transaction.atomic(), django_assert_num_queries(1):
        Card.objects.bulk_update([card], ["title"], batch_size=None)
    with transaction.atomic(), django_assert_num_queries(4):
        Card.objects.update(board=None)

    assert [c.before for c in heard] == [None, None, None]


@isolate_apps("tests.testapp")
def test_a_proxy_has_the_foreign_keys_of_its_model(
    listen: Listen, custody: Custody, ann: Person
) -> None:
    class Proxied(Custody):
        class Meta:
            proxy = True
            app_label = "testapp"

    heard = listen_for_person(listen, Proxied)

    Proxied.objects.get().save()

    assert [(type(c.instance), c.before) for c in heard] == [(Proxied, ann.pk)]


@isolate_apps("tests.testapp")
def test_a_descriptor_of_somebody_else_stays(
    listen: Listen, django_assert_num_queries: NumQueries
) -> None:
    class Own(models.Model):
        owner = models.ForeignKey(Person, models.CASCADE, related_name="+")

        class Meta:
            app_label = "testapp"

    theirs = property(lambda self: vars(self)["owner_id"])
    Own.owner_id = theirs  # type: ignore[assignment]
    fields = foreign_keys(Own, ["owner"])
    assert fields is not None

    note_assignments(fields)

    assert vars(Own)["owner_id"] is theirs


def test_other_fields_are_read_from_the_row(
    listen: Listen, custody: Custody, django_assert_num_queries: NumQueries
) -> None:
    assert foreign_keys(Custody, ["person", "id"]) is None
    assert foreign_keys(Custody, ["nobody"]) is None
    listen(Custody, before=person_of, reads=["person", "id"])

    with django_assert_num_queries(2):
        custody.save()


def test_an_assignment_still_drops_the_related_object(
    listen: Listen, custody: Custody, ann: Person, bob: Person
) -> None:
    listen_for_person(listen)

    assert custody.person == ann
    custody.person_id = bob.pk
    assert custody.person == bob
    custody.refresh_from_db()
    assert custody.person == ann


# --- Deletes for watches that may read anything


def test_rows_that_django_read_to_delete_them_are_not_read_again(
    listen: Listen,
    custody: Custody,
    ann: Person,
    django_assert_num_queries: NumQueries,
) -> None:
    heard = listen(Custody, before=lambda row: row)

    with django_assert_num_queries(4):  # BEGIN, SELECT, DELETE, COMMIT
        Custody.objects.all().delete()

    [change] = heard
    assert (change.before.pk, change.before.person_id) == (custody.pk, ann.pk)


def test_a_cascade_has_read_its_rows(
    listen: Listen, custody: Custody, ann: Person
) -> None:
    heard = listen(Custody, before=person_of)
    asked = []
    listen(Custody, before=lambda row: asked.append(row._state.db))

    key = ann.pk
    ann.delete()

    assert [c.before for c in heard] == [key]
    assert asked == ["default"]


def test_what_is_not_as_stored_is_read_before_it_is_deleted(
    listen: Listen, django_assert_num_queries: NumQueries
) -> None:
    """Instances that the caller has, their parents, and rows without a column."""
    heard = listen(Parent, before=lambda row: row.name)
    for delete in (
        lambda: Parent.objects.only("pk").delete(),
        lambda: _renamed(Parent.objects.get()).delete(),
        lambda: _renamed(Child.objects.get()).delete(),
        lambda: _collect(_renamed(Parent.objects.get())).delete(),
    ):
        Child.objects.create(name="Eve")

        delete()

    assert [c.before for c in heard if c.action == "delete"] == ["Eve"] * 4


def _renamed(row: Any) -> Any:
    row.name = "never saved"
    return row


def _collect(row: Any) -> Collector:
    collector = Collector(using="default")
    collector.collect([row])
    return collector
