"""Observing one object."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from tests.observers.app.consumers import (
    ActiveConsumer,
    ArticleConsumer,
    OtherConsumer,
    PersonConsumer,
    SeatConsumer,
    TaggedConsumer,
    TokenConsumer,
)
from tests.observers.app.models import Article, Employee, Person, Seat, Tag, Team, Token
from tests.observers.clients import Client
from tests.support.listening import rolled_back

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@pytest.fixture
def ann() -> Person:
    return Person.objects.create(name="Ann")


def shown(person: Person, **changes: Any) -> dict[str, Any]:
    values = {"id": person.pk, "name": person.name, "active": True, "team": None}
    return values | changes


def event(action: str, request_id: Any, data: Any) -> dict[str, Any]:
    return {
        "action": action,
        "errors": [],
        "response_status": {"create": 201, "update": 200, "delete": 204}[action],
        "request_id": request_id,
        "data": data,
    }


async def test_protocol_of_an_instance(layer: str, ann: Person) -> None:
    """Retrieve, subscribe, update, delete and unsubscribe, message by message."""
    pk = ann.pk
    async with Client(PersonConsumer) as client:
        retrieved = await client.ask("retrieve", request_id=1, pk=pk)
        subscribed = await client.ask("subscribe_instance", request_id=4, pk=pk)
        ann.name = "Anne"
        await ann.asave()
        updated = await client.next()
        await ann.adelete()
        deleted = await client.next()
        left = await client.ask("unsubscribe_instance", request_id=4, pk=pk)
        silent = await client.nothing()

    assert retrieved == {
        "action": "retrieve",
        "errors": [],
        "response_status": 200,
        "request_id": 1,
        "data": {"id": pk, "name": "Ann", "active": True, "team": None},
    }
    assert subscribed == {
        "action": "subscribe_instance",
        "errors": [],
        "response_status": 201,
        "request_id": 4,
        "data": None,
    }
    assert updated == {
        "action": "update",
        "errors": [],
        "response_status": 200,
        "request_id": 4,
        "data": {"id": pk, "name": "Anne", "active": True, "team": None},
    }
    assert deleted == {
        "action": "delete",
        "errors": [],
        "response_status": 204,
        "request_id": 4,
        "data": {"pk": pk},
    }
    assert left == {
        "action": "unsubscribe_instance",
        "errors": [],
        "response_status": 204,
        "request_id": 4,
        "data": None,
    }
    assert silent


async def test_every_request_id_is_told(ann: Person) -> None:
    """One client's two subscriptions of one object are two."""
    async with Client(PersonConsumer) as client:
        await client.ask("subscribe_instance", request_id="a", pk=ann.pk)
        await client.ask("subscribe_instance", request_id=2.5, pk=ann.pk)
        await ann.asave()
        events = [await client.next(), await client.next()]

    assert events == [event("update", rid, shown(ann)) for rid in ("a", 2.5)]


async def test_same_request_id_twice_is_one_subscription(ann: Person) -> None:
    async with Client(PersonConsumer) as client:
        await client.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await client.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await ann.asave()

        assert await client.next() == event("update", 1, shown(ann))
        assert await client.nothing()


async def test_several_objects_and_several_consumers(ann: Person) -> None:
    bob = await Person.objects.acreate(name="Bob")
    async with Client(PersonConsumer) as one, Client(ActiveConsumer) as other:
        await one.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await one.ask("subscribe_instance", request_id=2, pk=bob.pk)
        await other.ask("subscribe_instance", request_id=3, pk=bob.pk)
        await bob.asave()
        await ann.asave()

        assert await one.next() == event("update", 2, shown(bob))
        assert await one.next() == event("update", 1, shown(ann))
        assert await other.next() == event("update", 3, shown(bob))
        assert await other.nothing()


async def test_events_come_after_the_commit_once(ann: Person) -> None:
    """Saves of one transaction are one event, which shows the last of them."""

    def save_twice() -> None:
        with transaction.atomic():
            ann.name = "One"
            ann.save()
            ann.name = "Two"
            ann.save()

    async with Client(PersonConsumer) as client:
        await client.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await sync_to_async(save_twice)()

        assert await client.next() == event("update", 1, shown(ann, name="Two"))
        assert await client.nothing()


async def test_nothing_is_told_of_what_was_rolled_back(ann: Person) -> None:
    def save_in_vain() -> None:
        with rolled_back():
            Person.objects.filter(pk=ann.pk).first().save()

    async with Client(PersonConsumer) as client:
        await client.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await sync_to_async(save_in_vain)()

        assert await client.nothing()


async def test_databases_are_told_apart(ann: Person) -> None:
    """Rows of the same key in two databases are two objects."""
    other = await Person.objects.using("other").acreate(pk=ann.pk, name="Other")
    async with Client(PersonConsumer) as here, Client(OtherConsumer) as there:
        await here.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await there.ask("subscribe_instance", request_id=2, pk=ann.pk)
        await other.asave(using="other")

        assert await there.next() == event("update", 2, shown(other))
        assert await here.nothing()


async def test_leaving_the_queryset_is_a_delete_and_coming_back_a_create(
    ann: Person,
) -> None:
    async with Client(ActiveConsumer) as client:
        await client.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await Person.objects.filter(pk=ann.pk).aupdate(active=False)
        ann.active = False
        await ann.asave()
        await ann.asave()
        assert await client.next() == event("delete", 1, {"pk": ann.pk})

        ann.active = True
        await ann.asave()
        assert await client.next() == event("create", 1, shown(ann))


async def test_an_object_that_is_not_in_the_queryset_is_not_found(ann: Person) -> None:
    ann.active = False
    await ann.asave()
    async with Client(ActiveConsumer) as client:
        answer = await client.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await ann.asave()

        assert answer["response_status"] == 404
        assert answer["errors"] == ["Not found"]
        assert await client.nothing()


async def test_many_to_many_changes_are_updates_if_wanted(ann: Person) -> None:
    tag = await Tag.objects.acreate(name="new")
    async with Client(TaggedConsumer) as tagged, Client(PersonConsumer) as plain:
        await tagged.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await plain.ask("subscribe_instance", request_id=2, pk=ann.pk)
        await ann.tags.aadd(tag)
        added = await tagged.next()
        await tag.adelete()
        removed = await tagged.next()

        assert added["data"] == {"id": ann.pk, "name": "Ann", "tags": ["new"]}
        assert removed["data"] == {"id": ann.pk, "name": "Ann", "tags": []}
        assert await plain.nothing()


async def test_uuid_key() -> None:
    token = await Token.objects.acreate(name="t")
    pk = str(token.pk)
    async with Client(TokenConsumer) as client:
        await client.ask("subscribe_instance", request_id=1, pk=pk)
        await token.asave()
        assert await client.next() == event("update", 1, {"id": pk, "name": "t"})
        await token.adelete()
        assert await client.next() == event("delete", 1, {"pk": pk})


async def test_composite_key() -> None:
    seat = await Seat.objects.acreate(row=3, number=4, name="s")
    async with Client(SeatConsumer) as client:
        await client.ask("subscribe_instance", request_id=1, pk=[3, 4])
        await seat.asave()
        data = {"row": 3, "number": 4, "name": "s"}
        assert await client.next() == event("update", 1, data)
        await seat.adelete()
        assert await client.next() == event("delete", 1, {"pk": [3, 4]})


async def test_lookup_field() -> None:
    article = await Article.objects.acreate(slug="news", title="News")
    async with Client(ArticleConsumer) as client:
        answer = await client.ask("subscribe_instance", request_id=1, slug="news")
        article.slug = "old-news"
        await article.asave()
        updated = await client.next()
        left = await client.ask("unsubscribe_instance", request_id=9, slug="news")
        await article.asave()

        assert answer["response_status"] == 201
        assert updated["data"] == {"slug": "old-news", "title": "News"}
        assert left["response_status"] == 204
        assert await client.nothing()


async def test_child_table_changes_its_parent() -> None:
    """An employee is a person: saving the one updates the other."""
    employee = await Employee.objects.acreate(name="Eve", room="7")
    async with Client(PersonConsumer) as client:
        await client.ask("subscribe_instance", request_id=1, pk=employee.pk)
        await employee.asave()

        assert await client.next() == event("update", 1, shown(employee))


async def test_cascade_deletes_are_told() -> None:
    team = await Team.objects.acreate(name="t")
    ann = await Person.objects.acreate(name="Ann", team=team)
    async with Client(PersonConsumer) as client:
        await client.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await team.adelete()

        assert await client.next() == event("delete", 1, {"pk": ann.pk})


async def test_unsubscribing_from_a_deleted_object(ann: Person) -> None:
    """The row is not needed to leave it."""
    pk = ann.pk
    async with Client(PersonConsumer) as client:
        await client.ask("subscribe_instance", request_id=1, pk=pk)
        await ann.adelete()
        await client.next()
        answer = await client.ask("unsubscribe_instance", request_id=1, pk=pk)
        await Person.objects.acreate(pk=pk, name="Again")

        assert answer["response_status"] == 204
        assert await client.nothing()


async def test_unsubscribing_ends_one_request_or_all(ann: Person) -> None:
    async with Client(PersonConsumer) as client:
        for request_id in (1, 2, 3):
            await client.ask("subscribe_instance", request_id=request_id, pk=ann.pk)
        await client.ask("unsubscribe_instance", request_id=2, pk=ann.pk)
        await ann.asave()
        assert [(await client.next())["request_id"] for _ in range(2)] == [1, 3]

        await client.ask("unsubscribe_instance", request_id=99, pk=str(ann.pk))
        await ann.asave()
        assert await client.nothing()


async def test_handler_of_instances_can_be_subscribed_by_a_call(ann: Person) -> None:
    class OwnConsumer(PersonConsumer):
        async def connect(self) -> None:
            await self.handle_instance_change.subscribe(instance=ann, request_id="own")
            await super().connect()

    async with Client(OwnConsumer) as client:
        await ann.asave()

        assert await client.next() == event("update", "own", shown(ann))


@pytest.mark.parametrize(
    "pk", ["x", {}, [], [1], 10**30, 1e300, True, "\x00", "\ud800"]
)
async def test_wrong_keys_are_not_found(pk: Any) -> None:
    async with Client(PersonConsumer) as client:
        for action in ("retrieve", "subscribe_instance"):
            answer = await client.ask(action, pk=pk)
            assert (answer["response_status"], answer["errors"]) == (404, ["Not found"])


async def test_missing_key_and_request_id(ann: Person) -> None:
    async with Client(PersonConsumer) as client:
        no_key = await client.ask("subscribe_instance")
        await client.send(action="subscribe_instance", pk=ann.pk)
        no_id = await client.next()
        no_uuid = await client.ask("retrieve", pk=str(uuid.uuid4()))

    assert no_key["response_status"] == 400
    assert no_key["errors"] == [{"pk": ["This field is required."]}]
    assert no_id["response_status"] == 400
    assert no_id["errors"] == [{"request_id": ["This field is required."]}]
    assert no_uuid["response_status"] == 404
