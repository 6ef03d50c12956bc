"""Watches that read nothing but foreign keys, which are read if they may change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import transaction
from django.db.models.deletion import Collector
from django.test.utils import isolate_apps

from tests.support.listening import Listen, listening
from tests.testapp.models import Card, Child, Custody, Parent, Person
from turbo.changes.foreign_keys import foreign_keys

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


def test_a_key_that_is_saved_is_read_from_the_row(
    listen: Listen,
    custody: Custody,
    bob: Person,
    django_assert_num_queries: NumQueries,
) -> None:
    """Another process may have changed it since it was loaded."""
    Custody.objects.update(person=bob)
    heard = listen_for_person(listen)

    with django_assert_num_queries(2) as queries:
        custody.save()

    assert [c.before for c in heard] == [bob.pk]
    assert '"parent_id"' not in queries.captured_queries[0]["sql"].partition("FROM")[0]


def test_a_key_that_is_not_saved_costs_no_query(
    listen: Listen,
    custody: Custody,
    bob: Person,
    django_assert_num_queries: NumQueries,
) -> None:
    """What the instance has of it may have been set, or changed by another process."""
    heard = listen_for_person(listen)
    custody.person = bob

    with django_assert_num_queries(1):
        custody.save(update_fields=["parent"])

    assert [c.before for c in heard] == [None]


def test_a_new_object_costs_no_query(
    listen: Listen, custody: Custody, ann: Person, django_assert_num_queries: NumQueries
) -> None:
    heard = listen_for_person(listen)

    with django_assert_num_queries(1):
        Custody(parent_id=custody.parent_id, person=ann).save()

    assert [(c.action, c.before) for c in heard] == [("create", None)]


def test_a_delete_reads_the_key(
    listen: Listen,
    custody: Custody,
    bob: Person,
    django_assert_num_queries: NumQueries,
) -> None:
    Custody.objects.update(person=bob)
    heard = listen_for_person(listen)

    with django_assert_num_queries(4):  # SELECT, BEGIN, DELETE, COMMIT
        custody.delete()

    assert [c.before for c in heard] == [bob.pk]


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


def test_other_fields_are_read_from_the_row(
    listen: Listen, custody: Custody, django_assert_num_queries: NumQueries
) -> None:
    assert foreign_keys(Custody, ["person", "id"]) is None
    assert foreign_keys(Custody, ["nobody"]) is None
    listen(Custody, before=person_of, reads=["person", "id"])

    with django_assert_num_queries(2):
        custody.save()


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
