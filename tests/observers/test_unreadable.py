"""Events that nobody understands tell nobody anything, and the next ones arrive."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.dispatch import Signal

import turbo
from tests.observers.app.consumers import PersonConsumer
from tests.observers.app.models import Person
from tests.observers.clients import Client
from turbo import metrics
from turbo.delivery.broadcast import broadcast
from turbo.observers import AsyncAPIConsumer, model_observer, observer
from turbo.observers.wire.notice import instance_stream, model_stream

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

POINTER = {"action": "update", "model": "observers_app.person", "using": "default"}
NONSENSE: list[Any] = [
    "no json",
    "[" * 100_000,
    json.dumps([1]),
    *map(
        json.dumps,
        [
            {"origin": 5},
            {"origin": ["x", "y"]},
            {"new": True},
            POINTER,
            {**POINTER, "pk": {"a": 1}},
            {**POINTER, "pk": 1, "action": "merge"},
            {**POINTER, "pk": 1, "model": "no.model"},
            {**POINTER, "pk": 1, "model": 5},
            {**POINTER, "pk": 1, "using": "nowhere"},
            {**POINTER, "pk": "one"},
        ],
    ),
]

rang = Signal()


class HandlingConsumer(AsyncAPIConsumer):
    async def accept(self, *args: Any, **kwargs: Any) -> None:
        await self.person.subscribe()
        await self.bell.subscribe()
        await super().accept(*args, **kwargs)

    @model_observer(Person)
    async def person(self, message: Any, **kwargs: Any) -> None:
        await self.send_json(message)

    @observer(rang)
    async def bell(self, message: Any, **kwargs: Any) -> None:
        await self.send_json(message)


@sync_to_async
def tell(stream: str, *texts: str) -> None:
    for text in texts:
        broadcast(stream, text)
    turbo.flush()


async def test_clients_of_rows_are_told_of_the_next_change(layer: str) -> None:
    ann = await Person.objects.acreate(name="Ann")
    before = metrics.counters()["unreadable"]
    async with Client(PersonConsumer) as client:
        await client.ask("subscribe_instance", pk=ann.pk)
        await client.ask("subscribe_list")
        await tell(instance_stream(Person, ann.pk, "default"), *NONSENSE)
        await tell(model_stream(Person, "default"), *NONSENSE)
        await ann.asave()

        events = [await client.next(), await client.next()]

    assert [event["action"] for event in events] == ["update", "update"]
    assert metrics.counters()["unreadable"] == before + 2 * len(NONSENSE)


async def test_a_key_of_a_later_version_is_passed_over(layer: str) -> None:
    ann = await Person.objects.acreate(name="Ann")
    text = json.dumps({**POINTER, "pk": ann.pk, "new": 5, "origin": ["x", 1]})
    async with Client(PersonConsumer) as client:
        await client.ask("subscribe_instance", pk=ann.pk)
        await tell(instance_stream(Person, ann.pk, "default"), text)

        assert (await client.next())["action"] == "update"


async def test_handlers_are_called_for_the_next_event(layer: str) -> None:
    async with Client(HandlingConsumer) as client:
        await tell(HandlingConsumer.person.stream(""), *NONSENSE)
        ann = await Person.objects.acreate(name="Ann")
        assert await client.next() == {"pk": ann.pk}

        await tell(HandlingConsumer.bell.stream(""), *NONSENSE)
        await sync_to_async(rang.send)(None)
        assert await client.next() == {}
