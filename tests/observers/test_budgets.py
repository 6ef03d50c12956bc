"""What a client may hold is bounded, for each connection and each user."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import override_settings

from tests.observers.app.consumers import FilteredConsumer, PersonConsumer
from tests.observers.app.models import Person
from tests.observers.clients import Client
from tests.observers.test_permissions import with_permissions
from turbo import metrics
from turbo.observers import (
    AsyncAPIConsumer,
    BasePermission,
    IsAuthenticated,
    action,
)

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


def limits(section: str, **values: int) -> Any:
    return override_settings(TURBO={section: values})


@pytest.fixture
def user() -> User:
    return User.objects.create(username="user")


async def subscribe(client: Client, number: Any, **given: Any) -> int:
    answer = await client.ask("subscribe_list", request_id=number, **given)
    status: int = answer["response_status"]
    assert answer.get("reason") == ("limit" if status == 429 else None)
    return status


async def test_lists_of_one_connection(user: User) -> None:
    with limits("CONNECTION_LIMITS", LISTS=3):
        async with Client(PersonConsumer, user) as client:
            statuses = [await subscribe(client, number) for number in range(5)]
            again = await subscribe(client, 0)
            await client.ask("unsubscribe_list", request_id=0)
            room = await subscribe(client, 9)
            await Person.objects.acreate(name="Ann")
            told = sorted([(await client.next())["request_id"] for _ in range(3)])

            assert await client.nothing()

    assert statuses == [201, 201, 201, 429, 429]
    assert (again, room) == (201, 201)
    assert told == [1, 2, 9]


async def test_lists_of_one_user_over_connections(
    user: User, caplog: pytest.LogCaptureFixture
) -> None:
    other = await User.objects.acreate(username="other")
    before = metrics.counters().get("limited", 0)
    with limits("USER_LIMITS", LISTS=3):
        async with (
            Client(PersonConsumer, user) as one,
            Client(PersonConsumer, user) as two,
            Client(PersonConsumer, other) as three,
        ):
            statuses = [await subscribe(c, n) for n in (1, 2) for c in (one, two)]
            further = [await subscribe(two, n) for n in range(3, 8)]
            free = await subscribe(three, 1)
        async with Client(PersonConsumer, user) as back:
            returned = await subscribe(back, 1)

    assert statuses == [201, 201, 201, 429]
    assert further == [429] * 5
    assert (free, returned) == (201, 201)
    assert metrics.counters()["limited"] - before == 6
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1, "once a minute"


async def test_rows_that_lists_remember(user: User) -> None:
    for number in range(3):
        await Person.objects.acreate(name=str(number))
    with limits("CONNECTION_LIMITS", KEYS=7):
        async with Client(FilteredConsumer, user) as client:
            statuses = [
                await subscribe(client, number, query={"active": True, "team": None})
                for number in range(3)
            ]
            await Person.objects.acreate(name="new")
            events = [await client.next() for _ in range(2)]

            assert await client.nothing()

    assert statuses == [201, 201, 429]
    assert [e["response_status"] for e in events] == [201, 429]


async def test_subscriptions_of_one_user(user: User) -> None:
    ann = await Person.objects.acreate(name="Ann")
    with limits("USER_LIMITS", SUBSCRIPTIONS=2):
        async with (
            Client(PersonConsumer, user) as one,
            Client(PersonConsumer, user) as two,
        ):
            answers = [
                await client.ask("subscribe_instance", request_id=number, pk=ann.pk)
                for number in (1, 2)
                for client in (one, two)
            ]

    assert [a["response_status"] for a in answers] == [201, 201, 429, 429]
    assert answers[-1]["reason"] == "limit"


class WaitingConsumer(AsyncAPIConsumer):
    events: Any = None

    @action(detached=True)
    async def wait(self, **kwargs: Any) -> Any:
        await self.scope["gate"].wait()
        return "waited", 200


async def test_detached_actions(user: User) -> None:
    gate = asyncio.Event()
    with limits("CONNECTION_LIMITS", ACTIONS=3):
        async with Client(WaitingConsumer, user, gate=gate) as client:
            for number in range(5):
                await client.send(action="wait", request_id=number)
            refused = [await client.next() for _ in range(2)]
            gate.set()
            waited = [await client.next() for _ in range(3)]
            again = await client.ask("wait")

    assert [(a["response_status"], a["request_id"]) for a in refused] == [
        (429, 3),
        (429, 4),
    ]
    assert {a["reason"] for a in refused} == {"limit"}
    assert sorted(a["request_id"] for a in waited) == [0, 1, 2]
    assert again["data"] == "waited"


async def test_what_is_held_is_given_back_with_the_connection(user: User) -> None:
    with limits("USER_LIMITS", LISTS=1, ACTIONS=1, SUBSCRIPTIONS=1):
        for _ in range(3):
            async with Client(PersonConsumer, user) as client:
                assert await subscribe(client, 1) == 201
            gate = asyncio.Event()
            async with Client(WaitingConsumer, user, gate=gate) as client:
                await client.send(action="wait", request_id=1)
                assert await client.nothing()


class Asking(BasePermission):
    """Asks more than who the user is."""

    asked = 0

    async def has_permission(
        self, scope: Any, consumer: Any, action: str, **kwargs: Any
    ) -> bool:
        type(self).asked += 1
        return True


async def test_permissions_of_actions_are_tests(user: User) -> None:
    consumer = with_permissions(Asking, base=PersonConsumer)
    Asking.asked = 0
    with limits("USER_LIMITS", TESTS=3):
        async with Client(consumer, user) as one, Client(consumer, user) as two:
            answers = [await c.ask("list") for _ in range(3) for c in (one, two)]

    assert [a["response_status"] for a in answers] == [200] * 3 + [429] * 3
    assert answers[-1]["reason"] == "limit"
    assert Asking.asked == 3


async def test_who_the_user_is_is_no_test(user: User) -> None:
    consumer = with_permissions(IsAuthenticated, base=PersonConsumer)
    with limits("CONNECTION_LIMITS", TESTS=1):
        async with Client(consumer, user) as client:
            statuses = [(await client.ask("list"))["response_status"] for _ in "123"]

    assert statuses == [200] * 3


async def test_what_others_change_uses_up_nobodys_tests(user: User) -> None:
    """An event that is asked for is told, whoever made it, and actions go on."""
    ann = await Person.objects.acreate(name="Ann")
    consumer = with_permissions(Asking, base=PersonConsumer)
    with limits("CONNECTION_LIMITS", TESTS=2):
        async with Client(consumer, user) as client:
            await client.ask("subscribe_instance", request_id=1, pk=ann.pk)
            for _ in range(5):
                await ann.asave()
                assert (await client.next())["action"] == "update"

            assert (await client.ask("list"))["response_status"] == 200
