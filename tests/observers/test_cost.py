"""What a change costs: queries, serialisations, broadcasts."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import Any
from unittest.mock import patch

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db.backends.utils import CursorWrapper
from rest_framework import serializers

import turbo
from tests.observers.app.consumers import PersonConsumer, TaggedConsumer
from tests.observers.app.models import Person, Tag
from tests.observers.clients import Client
from tests.support.servers import PATIENCE
from turbo.delivery.names import user_key
from turbo.delivery.recorders import recording
from turbo.observers import GenericAsyncAPIConsumer, ObserverModelInstanceMixin
from turbo.runtime.threads import in_turn

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

CLIENTS = 7


class Statements(list[str]):
    """What was sent to the database, by any thread."""

    @property
    def reads(self) -> int:
        return sum(sql.startswith("SELECT") for sql in self)


@asynccontextmanager
async def counting() -> AsyncIterator[Statements]:
    """Count the statements of all threads."""
    statements = Statements()

    def noting(run: Callable[..., Any]) -> Callable[..., Any]:
        def noted(cursor: CursorWrapper, sql: str, *rest: Any) -> Any:
            statements.append(sql)
            return run(cursor, sql, *rest)

        return noted

    with ExitStack() as stack:
        for name in ("execute", "executemany"):
            noted = noting(getattr(CursorWrapper, name))
            stack.enter_context(patch.object(CursorWrapper, name, noted))
        yield statements


async def crowd(
    stack: AsyncExitStack, consumer: type[Any], pk: Any, users: Any = (), **extra: Any
) -> list[Client]:
    """Return clients that are subscribed to one object."""
    clients = []
    for number in range(CLIENTS):
        user = users[number] if users else None
        client = await stack.enter_async_context(Client(consumer, user))
        await client.ask("subscribe_instance", request_id=f"r{number}", pk=pk, **extra)
        clients.append(client)
    return clients


async def saved(person: Person, clients: list[Client]) -> tuple[Statements, list[Any]]:
    """Save, and return the statements in all threads and what the clients heard."""

    def update() -> None:
        Person.objects.bulk_update([person], ["name"])
        turbo.announce(person)

    async with counting() as statements:
        await sync_to_async(update)()
        heard = [(await client.next())["data"] for client in clients]
        await sync_to_async(turbo.flush)()
    return statements, heard


async def test_one_query_and_one_serialisation_for_all() -> None:
    serialised = Counter[int]()

    class CountingSerializer(serializers.ModelSerializer):
        class Meta:
            model = Person
            fields = ("id", "name")

        def to_representation(self, instance: Person) -> Any:
            serialised[instance.pk] += 1
            return super().to_representation(instance)

    class Consumer(PersonConsumer):
        serializer_class = CountingSerializer

    ann = await Person.objects.acreate(name="Ann")
    async with AsyncExitStack() as stack:
        clients = await crowd(stack, Consumer, ann.pk)
        statements, heard = await saved(ann, clients)

        assert statements.reads == 1
        assert serialised == {ann.pk: 1}
        assert heard == [{"id": ann.pk, "name": "Ann"}] * CLIENTS


async def test_prefetches_of_the_queryset_are_made_once() -> None:
    ann = await Person.objects.acreate(name="Ann")
    await ann.tags.aadd(await Tag.objects.acreate(name="new"))
    async with AsyncExitStack() as stack:
        clients = await crowd(stack, TaggedConsumer, ann.pk)
        statements, heard = await saved(ann, clients)

        assert statements.reads == 2
        assert heard == [{"id": ann.pk, "name": "Ann", "tags": ["new"]}] * CLIENTS


async def test_a_delete_needs_no_query() -> None:
    ann = await Person.objects.acreate(name="Ann")
    async with AsyncExitStack() as stack:
        clients = await crowd(stack, PersonConsumer, ann.pk)
        async with counting() as statements:
            await sync_to_async(turbo.announce)(ann, "delete", using="default")
            heard = [(await client.next())["data"] for client in clients]

        assert statements == []
        assert heard == [{"pk": ann.pk}] * CLIENTS


async def test_nothing_is_read_or_serialised_when_nobody_listens() -> None:
    ann = await Person.objects.acreate(name="Ann")
    told: list[str] = []
    async with counting() as alone:
        await ann.asave(update_fields=["name"])
    async with Client(PersonConsumer) as client:
        await client.ask("retrieve", pk=ann.pk)
        async with counting() as statements:
            with recording(lambda name, data: told.append(data)):
                await ann.asave(update_fields=["name"])
                await sync_to_async(turbo.flush)()
            assert await client.nothing()

    # The groups of declared observers take a look back, and a look each.
    assert [sql.split()[0] for sql in alone[:3]] == ["SELECT", "UPDATE", "SELECT"]
    assert statements == alone
    assert all(len(data) < 200 for data in told), "notices, no objects"


async def users() -> list[User]:
    return [await User.objects.acreate(username=f"user{n}") for n in range(CLIENTS)]


class GreetingSerializer(serializers.ModelSerializer):
    """Looks at the client without the consumer's saying so."""

    for_whom = serializers.SerializerMethodField()

    class Meta:
        model = Person
        fields = ("id", "for_whom")

    def get_for_whom(self, instance: Person) -> str:
        name: str = self.context["scope"]["user"].username
        return name


class GreetingConsumer(ObserverModelInstanceMixin, GenericAsyncAPIConsumer):
    queryset = Person.objects.all()
    serializer_class = GreetingSerializer


class ContextConsumer(GreetingConsumer):
    def get_serializer_context(self, **kwargs: Any) -> dict[str, Any]:
        return {"scope": self.scope}


class CopyingSerializer(GreetingSerializer):
    """Hands a copy of the context on."""

    def get_for_whom(self, instance: Person) -> str:
        name: str = {**self.context}["scope"]["user"].username
        return name


class CopyingConsumer(GreetingConsumer):
    serializer_class = CopyingSerializer


@pytest.mark.parametrize(
    "consumer", [GreetingConsumer, ContextConsumer, CopyingConsumer]
)
async def test_serializers_that_look_at_the_client_run_for_each(consumer: Any) -> None:
    """One query still; and nobody is greeted by another's name."""
    ann = await Person.objects.acreate(name="Ann")
    everybody = await users()
    async with AsyncExitStack() as stack:
        clients = await crowd(stack, consumer, ann.pk, everybody)
        for _ in range(2):
            statements, heard = await saved(ann, clients)

            assert statements.reads == 1
            assert [data["for_whom"] for data in heard] == [
                user.username for user in everybody
            ]


async def test_snapshots_that_look_at_the_client_are_their_own() -> None:
    ann = await Person.objects.acreate(name="Ann")
    everybody = await users()
    async with AsyncExitStack() as stack:
        for user in everybody:
            client = await stack.enter_async_context(Client(GreetingConsumer, user))
            answer = await client.ask("subscribe_instance", pk=ann.pk, snapshot=True)
            assert answer["data"]["for_whom"] == user.username


class ChoosingConsumer(GreetingConsumer):
    def get_queryset(self, **kwargs: Any) -> Any:
        return Person.objects.select_related("team")


class TeamAudienceConsumer(ChoosingConsumer):
    serializer_class = PersonConsumer.serializer_class

    def get_audience(self) -> Any:
        return "team"


async def test_objects_chosen_by_the_class_are_read_for_each() -> None:
    ann = await Person.objects.acreate(name="Ann")
    everybody = await users()
    async with AsyncExitStack() as stack:
        clients = await crowd(stack, ChoosingConsumer, ann.pk, everybody)
        statements, _ = await saved(ann, clients)

        assert statements.reads == CLIENTS


async def test_an_audience_shares_the_work() -> None:
    ann = await Person.objects.acreate(name="Ann")
    everybody = await users()
    async with AsyncExitStack() as stack:
        clients = await crowd(stack, TeamAudienceConsumer, ann.pk, everybody)
        statements, _ = await saved(ann, clients)

        assert statements.reads == 1


async def test_own_retrieve_and_get_object_are_used_for_events() -> None:
    class RetrievingConsumer(GreetingConsumer):
        def get_object(self, **kwargs: Any) -> Any:
            return Person.objects.get(pk=kwargs["pk"])

        async def retrieve(self, pk: Any, **kwargs: Any) -> Any:
            return {"own": pk}, 200

    ann = await Person.objects.acreate(name="Ann")
    async with Client(RetrievingConsumer) as client:
        await client.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await ann.asave()
        updated = await client.next()
        pk = ann.pk
        await ann.adelete()
        deleted = await client.next()

    assert (updated["action"], updated["data"]) == ("update", {"own": pk})
    assert (deleted["action"], deleted["data"]) == ("delete", {"pk": pk})


async def test_own_reply_is_used_for_events() -> None:
    class ReplyingConsumer(PersonConsumer):
        async def reply(self, action: Any, *args: Any, **kwargs: Any) -> None:
            await super().reply(f"own {action}", *args, **kwargs)

    ann = await Person.objects.acreate(name="Ann")
    async with Client(ReplyingConsumer) as client:
        await client.ask("subscribe_instance", request_id=1, pk=ann.pk, snapshot=True)
        await ann.asave()
        event = await client.next()

    assert event["action"] == "own update"
    assert event["data"]["name"] == "Ann"
    assert event["position"]


async def test_bursts_are_read_together() -> None:
    """A bulk of changes is no bulk of queries for a list."""
    loop = asyncio.get_running_loop()
    user = await User.objects.acreate(username="user")
    all_have_come = threading.Event()

    async def turns() -> None:
        for _ in range(500):
            await asyncio.sleep(0)

    def create() -> None:
        Person.objects.bulk_create([Person(name=str(n)) for n in range(50)])
        turbo.announce(Person.objects.order_by("pk"), "create")
        assert turbo.flush(PATIENCE)
        asyncio.run_coroutine_threadsafe(turns(), loop).result(PATIENCE)

    async with Client(PersonConsumer, user) as client:
        await client.ask("subscribe_list", request_id=1)
        owner = f"user {user_key(user)}"
        turn = asyncio.ensure_future(in_turn(owner, all_have_come.wait, PATIENCE))
        async with counting() as statements:
            try:
                await sync_to_async(create)()
            finally:
                all_have_come.set()
            heard = [(await client.next())["data"]["name"] for _ in range(50)]
        await turn

    assert heard == [str(n) for n in range(50)]
    # That of the announcement, of the first change, and of all that waited for it.
    assert statements.reads <= 3
