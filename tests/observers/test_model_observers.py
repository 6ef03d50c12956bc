"""Handlers that are called for changes of a model."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from django.test import override_settings

from tests.observers.app.consumers import TeamConsumer
from tests.observers.app.models import Person, Tag, Team
from tests.observers.app.serializers import PersonSerializer
from tests.observers.clients import Client
from turbo.delivery.broadcast import get_publisher
from turbo.delivery.names import stream_id
from turbo.exceptions import ConfigurationError
from turbo.observers import (
    Action,
    AsyncAPIConsumer,
    GenericAsyncAPIConsumer,
    action,
    model_observer,
)
from turbo.replay import Append

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@pytest.fixture
def teams() -> list[Team]:
    return [Team.objects.create(name="a"), Team.objects.create(name="b")]


def told(message: dict[str, Any]) -> tuple[str, Any, Any]:
    return message["action"], message["request_id"], message["data"]


def shown(person: Person, **changes: Any) -> dict[str, Any]:
    values = {
        "id": person.pk,
        "name": person.name,
        "active": True,
        "team": person.team_id,
    }
    return values | changes


async def test_handler_is_called_for_each_change(layer: str) -> None:
    async with Client(TeamConsumer) as client:
        await client.ask("subscribe_to_everybody", request_id=1)
        ann = await Person.objects.acreate(name="Ann")
        pk = ann.pk
        await ann.asave()
        await ann.adelete()
        events = [await client.next() for _ in range(3)]

        assert [told(event) for event in events] == [
            ("create", 1, {"pk": pk}),
            ("update", 1, {"pk": pk}),
            ("delete", 1, {"pk": pk}),
        ]
        assert await client.nothing()


async def test_handler_is_called_once_with_all_request_ids() -> None:
    async with Client(TeamConsumer) as client:
        await client.ask("subscribe_to_everybody", request_id=1)
        await client.ask("subscribe_to_everybody", request_id="b")
        await client.ask("subscribe_to_everybody", request_id="b")
        ann = await Person.objects.acreate(name="Ann")

        assert [told(await client.next()) for _ in range(2)] == [
            ("create", 1, {"pk": ann.pk}),
            ("create", "b", {"pk": ann.pk}),
        ]
        assert await client.nothing()


async def test_unsubscribing_one_request_and_all() -> None:
    async with Client(TeamConsumer) as client:
        await client.ask("subscribe_to_everybody", request_id=1)
        await client.ask("subscribe_to_everybody", request_id=2)
        await client.ask("unsubscribe_from_everybody", request_id=3, which=1)
        ann = await Person.objects.acreate(name="Ann")
        assert (await client.next())["request_id"] == 2

        await client.ask("unsubscribe_from_everybody", request_id=4)
        await ann.asave()
        assert await client.nothing()


async def test_groups_tell_of_entering_changing_and_leaving(
    layer: str, teams: list[Team]
) -> None:
    one, two = teams
    async with Client(TeamConsumer) as first, Client(TeamConsumer) as second:
        await first.ask("subscribe_to_team", request_id=1, team=one.pk)
        await second.ask("subscribe_to_team", request_id=2, team=two.pk)
        ann = await Person.objects.acreate(name="Ann", team=one)
        created = await first.next()
        await ann.asave()
        updated = await first.next()
        ann.team, ann.name = two, "Anne"
        await ann.asave()
        left, entered = await first.next(), await second.next()
        pk = ann.pk
        await ann.adelete()
        deleted = await second.next()

        groups = f"team-{one.pk}", f"team-{two.pk}"
        before = {"id": pk, "name": "Ann", "active": True, "team": one.pk}
        after = {"id": pk, "name": "Anne", "active": True, "team": two.pk}
        assert told(created) == ("create", 1, [groups[0], before])
        assert told(updated) == ("update", 1, [groups[0], before])
        assert told(left) == ("delete", 1, [groups[0], before]), "not the new state"
        assert told(entered) == ("create", 2, [groups[1], after])
        assert told(deleted) == ("delete", 2, [groups[1], after])
        assert await first.nothing()
        assert await second.nothing()


async def test_leaving_and_coming_back_in_one_transaction_is_an_update(
    teams: list[Team],
) -> None:
    one, two = teams
    ann = await Person.objects.acreate(name="Ann", team=one)

    def move() -> None:
        with transaction.atomic():
            for team in (two, one):
                ann.team = team
                ann.save()

    async with Client(TeamConsumer) as client:
        await client.ask("subscribe_to_team", request_id=1, team=one.pk)
        await client.ask("subscribe_to_team", request_id=2, team=two.pk)
        await sync_to_async(move)()

        assert (await client.next())["action"] == "update"
        assert await client.nothing()


async def test_groups_of_a_partial_save_are_those_of_the_stored_row(
    teams: list[Team],
) -> None:
    """What was assigned and not saved moves nobody."""
    one, two = teams
    ann = await Person.objects.acreate(name="Ann", team=one)
    async with Client(TeamConsumer) as client:
        await client.ask("subscribe_to_team", request_id=1, team=one.pk)
        await client.ask("subscribe_to_team", request_id=2, team=two.pk)
        ann.team, ann.name = two, "Anne"
        await ann.asave(update_fields=["name"])
        event = await client.next()

        assert told(event)[:2] == ("update", 1)
        assert event["data"][1] == shown(ann, team=one.pk)
        assert await client.nothing()


async def test_serializer_function_and_many_to_many() -> None:
    class OwnConsumer(GenericAsyncAPIConsumer):
        queryset = Person.objects.all()
        serializer_class = PersonSerializer

        async def connect(self) -> None:
            await self.changes.subscribe()
            await super().connect()

        @model_observer(Person, many_to_many=True)
        async def changes(self, message: Any, **kwargs: Any) -> None:
            seen.append(kwargs)
            await self.send_json(message)

        @changes.serializer
        def changes(self, instance: Person, action: Action, **kwargs: Any) -> Any:
            tags = [] if action == "delete" else [t.name for t in instance.tags.all()]
            return {"what": action.value, "pk": instance.pk, "tags": tags}

    seen: list[dict[str, Any]] = []
    async with Client(OwnConsumer) as client:
        ann = await Person.objects.acreate(name="Ann")
        created = await client.next()
        await ann.tags.aadd(await Tag.objects.acreate(name="new"))
        tagged = await client.next()
        pk = ann.pk
        await ann.adelete()
        deleted = await client.next()

    assert created == {"what": "create", "pk": pk, "tags": []}
    assert tagged == {"what": "update", "pk": pk, "tags": ["new"]}
    assert deleted == {"what": "delete", "pk": pk, "tags": []}
    assert [given["action"] for given in seen] == ["create", "update", "delete"]
    assert {given["message_type"] for given in seen} == {"changes"}
    assert {given["observer"] for given in seen} == {OwnConsumer.changes}


async def test_each_handler_gets_a_body_of_its_own() -> None:
    class OwnConsumer(AsyncAPIConsumer):
        async def connect(self) -> None:
            await self.changes.subscribe()
            await super().connect()

        @model_observer(Person)
        async def changes(self, message: Any, **kwargs: Any) -> None:
            message["seen"] = True
            before.append(dict(message))
            await self.send_json(message)

    before: list[Any] = []
    async with Client(OwnConsumer) as one, Client(OwnConsumer) as two:
        ann = await Person.objects.acreate(name="Ann")
        both = [await one.next(), await two.next()]

    assert both == [{"pk": ann.pk, "seen": True}] * 2


async def test_a_failing_handler_harms_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class OwnConsumer(AsyncAPIConsumer):
        async def connect(self) -> None:
            await self.changes.subscribe()
            await super().connect()

        @model_observer(Person)
        async def changes(self, message: Any, **kwargs: Any) -> None:
            if self.scope["fails"]:
                raise RuntimeError("a bug")
            await self.send_json(message)

    async with (
        Client(OwnConsumer, fails=True) as failing,
        Client(OwnConsumer, fails=False) as other,
    ):
        ann = await Person.objects.acreate(name="Ann")

        assert await other.next() == {"pk": ann.pk}
        assert await failing.nothing()
    assert "a bug" in caplog.text


def test_a_deleted_object_that_cannot_be_serialised_is_told_by_its_key() -> None:
    """Also by one of bytes: regression, such a deletion was lost."""

    class Consumer(AsyncAPIConsumer):
        @model_observer(Person)
        async def changes(self, message: Any, **kwargs: Any) -> None: ...

        @changes.serializer
        def changes(self, instance: Any, action: Any, **kwargs: Any) -> Any:
            raise ValueError("gone")

    body = Consumer.changes._body_of_gone(SimpleNamespace(pk=b"\xff"))

    assert body == {"pk": "/w=="}


async def test_a_failing_serializer_is_an_error_event(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class OwnConsumer(AsyncAPIConsumer):
        @action()
        async def watch(self, request_id: Any, **kwargs: Any) -> Any:
            await self.changes.subscribe(request_id=request_id)
            return None, 201

        @model_observer(Person)
        async def changes(self, message: Any, **kwargs: Any) -> None:
            await self.send_json(message)

        @changes.serializer
        def changes(self, instance: Person, action: Action, **kwargs: Any) -> Any:
            raise RuntimeError("a bug")

    async with Client(OwnConsumer) as client:
        await client.ask("watch", request_id=1)
        ann = await Person.objects.acreate(name="Ann")
        failed = await client.next()
        pk = ann.pk
        await ann.adelete()
        deleted = await client.next()

    assert (failed["request_id"], failed["response_status"]) == (1, 500)
    assert deleted == {"pk": pk}
    assert "a bug" in caplog.text


async def test_missing_events_are_said_to_be_missing() -> None:
    name = TeamConsumer.everybody.stream("")
    async with Client(TeamConsumer) as client:
        await client.ask("subscribe_to_everybody", request_id=1)
        get_publisher().put(Append(stream_id(name), None))
        message = await client.next()

    assert message == {
        "action": "gap",
        "errors": ["Events may have been missed. Fetch the data anew."],
        "response_status": 410,
        "request_id": 1,
        "data": None,
    }


async def test_two_consumers_with_handlers_of_one_name_are_two() -> None:
    class One(AsyncAPIConsumer):
        @model_observer(Person)
        async def changes(self, message: Any, **kwargs: Any) -> None: ...

    class Two(AsyncAPIConsumer):
        @model_observer(Person)
        async def changes(self, message: Any, **kwargs: Any) -> None: ...

    assert One.changes.stream("") != Two.changes.stream("")


def test_a_handler_is_a_coroutine() -> None:
    with pytest.raises(ConfigurationError, match=r"plain\(\) is called for events"):

        @model_observer(Person)
        def plain(self: Any, message: Any, **kwargs: Any) -> Iterator[str]:
            yield ""


async def test_requests_for_the_events_of_one_group_have_a_limit() -> None:
    """Each is answered for each event, and remembered until then."""
    team = await Team.objects.acreate(name="One")
    with override_settings(TURBO={"MAX_STREAMS": 3}):
        async with Client(TeamConsumer) as client:
            for number in range(3):
                await client.ask("subscribe_to_team", request_id=number, team=team.pk)
            again = await client.ask("subscribe_to_team", request_id=2, team=team.pk)
            refused = await client.ask("subscribe_to_team", request_id=3, team=team.pk)

    assert again["response_status"] == 201
    assert (refused["response_status"], refused["reason"]) == (429, "limit")
