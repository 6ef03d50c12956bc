"""The server decides who sees alike; whatever may depend on the user is not shared."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework import serializers
from rest_framework.exceptions import PermissionDenied
from rest_framework.filters import BaseFilterBackend

import turbo
from tests.observers.app.consumers import PersonConsumer
from tests.observers.app.models import Person, Team
from tests.observers.app.serializers import PersonSerializer
from tests.observers.clients import Client
from tests.observers.test_cost import CLIENTS, counting, saved
from tests.observers.test_permissions import IsOwner, IsOwnerToo
from turbo.observers import BasePermission

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@pytest.fixture
def owner() -> User:
    return User.objects.create(username="owner")


@pytest.fixture
def stranger() -> User:
    return User.objects.create(username="stranger")


def told(message: dict[str, Any]) -> tuple[str, int, Any]:
    return message["action"], message["response_status"], message["data"]


class IsOwnerFilterBackend(BaseFilterBackend):
    """As DRF documents it."""

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        return queryset.filter(owner=request.user)


class SilentOwnerBackend(IsOwnerFilterBackend):
    """Would rather show everything than fail."""

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        try:
            return super().filter_queryset(request, queryset, view)
        except Exception:
            return queryset


class ScopeBackend(BaseFilterBackend):
    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        return queryset.filter(owner=view.scope["user"])


class AttributeBackend(BaseFilterBackend):
    """Looks at what the consumer has learned when its client connected."""

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        return queryset.filter(owner=getattr(view, "client", None))


class MethodBackend(BaseFilterBackend):
    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        return queryset.filter(owner=view.whoever())


class HeaderBackend(BaseFilterBackend):
    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        return queryset.filter(owner__username=request.META["HTTP_X_NAME"])


BACKENDS = [
    IsOwnerFilterBackend,
    SilentOwnerBackend,
    ScopeBackend,
    AttributeBackend,
    MethodBackend,
    HeaderBackend,
]


class OwnedConsumer(PersonConsumer):
    client: Any = None

    async def connect(self) -> None:
        self.client = self.scope["user"]
        await super().connect()

    def whoever(self) -> Any:
        return self.scope["user"]


def filtered(*backends: Any) -> type[OwnedConsumer]:
    return type("Filtered", (OwnedConsumer,), {"filter_backends": backends})


def client_of(consumer: type[Any], user: User) -> Client:
    return Client(consumer, user, headers=[(b"x-name", user.username.encode())])


@pytest.mark.parametrize("backend", BACKENDS)
async def test_nobody_is_told_of_the_rows_of_others(
    backend: Any, owner: User, stranger: User
) -> None:
    """Regression: whoever subscribed first decided what everybody saw."""
    consumer = filtered(backend)
    async with (
        client_of(consumer, owner) as own,
        client_of(consumer, stranger) as other,
    ):
        for client in (own, other):
            await client.ask("subscribe_list", request_id=1)
        listed = await other.ask("list")
        ann = await Person.objects.acreate(name="Ann", owner=owner)
        created = await own.next()
        ann.name = "Anna"
        await ann.asave()
        updated = await own.next()
        pk = ann.pk
        await ann.adelete()
        deleted = await own.next()

        assert listed["data"] == []
        assert [event["action"] for event in (created, updated)] == ["create", "update"]
        assert told(deleted) == ("delete", 204, {"pk": pk})
        assert await own.nothing()
        assert await other.nothing()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("action", ["subscribe_list", "subscribe_instance"])
async def test_what_is_given_away_is_deleted_once(
    backend: Any, action: str, owner: User, stranger: User
) -> None:
    ann = await Person.objects.acreate(name="Ann", owner=owner)
    consumer = filtered(backend)
    async with (
        client_of(consumer, owner) as own,
        client_of(consumer, stranger) as other,
    ):
        await other.ask("subscribe_list", request_id=2)
        await own.ask(action, pk=ann.pk, request_id=1)
        ann.owner, ann.name = stranger, "Secret"
        await ann.asave()
        lost, found = await own.next(), await other.next()
        ann.name = "Secret too"
        await ann.asave()
        await other.next()

        assert told(lost) == ("delete", 204, {"pk": ann.pk})
        assert (found["action"], found["data"]["name"]) == ("create", "Secret")
        assert await own.nothing()


class SwitchedBackend(BaseFilterBackend):
    """Looks for the client from some moment on."""

    strict = False

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        strict = SwitchedBackend.strict
        return queryset.filter(owner=request.user) if strict else queryset


@pytest.fixture
def _lenient() -> Any:
    SwitchedBackend.strict = False
    yield
    SwitchedBackend.strict = False


@pytest.mark.usefixtures("_lenient")
async def test_sharing_ends_when_a_backend_looks_for_the_client(
    owner: User, stranger: User
) -> None:
    ann = await Person.objects.acreate(name="Ann", owner=owner)
    bob = await Person.objects.acreate(name="Bob", owner=stranger)
    consumer = filtered(SwitchedBackend)
    async with (
        client_of(consumer, owner) as own,
        client_of(consumer, stranger) as other,
    ):
        for client in (own, other):
            await client.ask("subscribe_list", request_id=1)
            await client.ask("subscribe_instance", request_id=2, pk=ann.pk)
        SwitchedBackend.strict = True
        await ann.asave()
        own_events = [await own.next(), await own.next()]
        other_events = [await other.next(), await other.next()]
        await bob.asave()

        assert {event["action"] for event in own_events} == {"update"}
        assert [told(e) for e in other_events] == [("delete", 204, {"pk": ann.pk})] * 2
        assert told(await own.next()) == ("delete", 204, {"pk": bob.pk})
        assert (await other.next())["action"] == "update"
        assert await own.nothing()
        assert await other.nothing()


# --- Serializers


def serializer_that(look: Any) -> type[PersonConsumer]:
    class LookingSerializer(serializers.ModelSerializer):
        whom = serializers.SerializerMethodField()

        class Meta:
            model = Person
            fields = ("id", "whom")

        def get_whom(self, person: Person) -> Any:
            return look(self)

    return type("Looking", (PersonConsumer,), {"serializer_class": LookingSerializer})


def name_of(consumer: Any) -> Any:
    return consumer and consumer.scope["user"].username


def deaf_look(serializer: Any) -> Any:
    try:
        return serializer.context["scope"]["user"].username
    except Exception:
        return "nobody"


LOOKS = {
    "scope": lambda s: s.context["scope"]["user"].username,
    "get": lambda s: name_of(s.context.get("consumer")),
    "in": lambda s: "scope" in s.context and name_of(s.context["consumer"]),
    "copy": lambda s: dict(s.context)["scope"]["user"].username,
    "unpacked": lambda s: {**s.context}["scope"]["user"].username,
    "merged": lambda s: (s.context | {})["scope"]["user"].username,
    "values": lambda s: name_of(list(s.context.values())[1]),
    "silent": deaf_look,
    "empty or not": lambda s: s.context and s.context["scope"]["user"].username,
}


@pytest.mark.parametrize("look", LOOKS)
async def test_serializers_that_look_for_the_client_are_not_shared(
    look: str, owner: User, stranger: User
) -> None:
    ann = await Person.objects.acreate(name="Ann")
    consumer = serializer_that(LOOKS[look])
    async with Client(consumer, owner) as own, Client(consumer, stranger) as other:
        for client in (own, other):
            await client.ask("subscribe_instance", request_id=1, pk=ann.pk)
        for _ in range(2):
            await ann.asave()

            assert (await own.next())["data"]["whom"] == "owner"
            assert (await other.next())["data"]["whom"] == "stranger"


@pytest.mark.parametrize("key", ["request", "view", "user", "session"])
async def test_looking_for_a_request_ends_sharing(key: str) -> None:
    """Though there is none: the default is not to share."""
    calls: list[int] = []

    def look(serializer: Any) -> Any:
        calls.append(1)
        return serializer.context.get(key)

    ann = await Person.objects.acreate(name="Ann")
    async with AsyncExitStack() as stack:
        consumer = serializer_that(look)
        clients = [
            await stack.enter_async_context(Client(consumer)) for _ in range(CLIENTS)
        ]
        for client in clients:
            await client.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await saved(ann, clients)
        first = len(calls)
        calls.clear()
        await saved(ann, clients)

    assert (first, len(calls)) == (CLIENTS + 1, CLIENTS)


async def test_a_serializer_is_chosen_by_a_property(
    owner: User, stranger: User
) -> None:
    class Secret(PersonSerializer):
        class Meta(PersonSerializer.Meta):
            fields = ("id",)

    class Consumer(PersonConsumer):
        @property
        def serializer_class(self) -> Any:
            return PersonSerializer if self.scope["user"] == owner else Secret

    ann = await Person.objects.acreate(name="Ann")
    async with Client(Consumer, owner) as own, Client(Consumer, stranger) as other:
        for client in (own, other):
            await client.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await ann.asave()

        assert (await own.next())["data"]["name"] == "Ann"
        assert (await other.next())["data"] == {"id": ann.pk}


async def test_attributes_of_one_connection_are_its_own(
    owner: User, stranger: User
) -> None:
    class Consumer(PersonConsumer):
        async def connect(self) -> None:
            if self.scope["user"] == owner:
                self.queryset = Person.objects.filter(owner=owner)
            await super().connect()

    async with Client(Consumer, stranger) as other, Client(Consumer, owner) as own:
        for client in (own, other):
            await client.ask("subscribe_list", request_id=1)
        await Person.objects.acreate(name="Ann")

        assert (await other.next())["action"] == "create"
        assert await own.nothing()


async def test_permissions_of_one_connection_are_asked_for_it(
    owner: User, stranger: User
) -> None:
    class Nothing(BasePermission):
        async def has_permission(
            self, scope: Any, consumer: Any, action: str, **kwargs: Any
        ) -> bool:
            return "event" not in kwargs

    class Consumer(PersonConsumer):
        async def connect(self) -> None:
            if self.scope["user"] == stranger:
                self.permission_classes = (Nothing,)
            await super().connect()

    async with Client(Consumer, owner) as own, Client(Consumer, stranger) as other:
        for client in (own, other):
            await client.ask("subscribe_list", request_id=1)
        await Person.objects.acreate(name="Ann")

        assert (await own.next())["action"] == "create"
        assert told(await other.next()) == ("create", 403, None)


# --- Objects of a list


class OwnerInASelfMadeWay(PersonConsumer):
    def check_object_permissions(
        self, obj: Any, action: str | None = None, **kwargs: Any
    ) -> None:
        if obj.owner_id != self.scope["user"].pk:
            raise PermissionDenied


OBJECT_CONSUMERS = [
    type("P", (PersonConsumer,), {"permission_classes": (IsOwner,)}),
    type("Q", (PersonConsumer,), {"permission_classes": (IsOwnerToo,)}),
    type("R", (PersonConsumer,), {"permission_classes": (IsOwner & IsOwnerToo,)}),
    OwnerInASelfMadeWay,
]


@pytest.mark.parametrize("consumer", OBJECT_CONSUMERS)
async def test_lists_ask_about_each_object(
    consumer: Any, owner: User, stranger: User
) -> None:
    """Regression: only subscriptions to one object did."""
    async with Client(consumer, owner) as own, Client(consumer, stranger) as other:
        for client in (own, other):
            await client.ask("subscribe_list", request_id=1)
        ann = await Person.objects.acreate(name="Ann", owner=owner)
        created = await own.next()
        await ann.asave()
        updated = await own.next()
        ann.owner = stranger
        await ann.asave()
        lost, found = await own.next(), await other.next()
        await ann.asave()
        again = await other.next()
        pk = ann.pk
        await ann.adelete()
        gone = await other.next()

        assert [e["action"] for e in (created, updated)] == ["create", "update"]
        assert told(lost) == ("delete", 204, {"pk": pk})
        assert [e["action"] for e in (found, again)] == ["create", "update"]
        assert told(gone) == ("delete", 204, {"pk": pk})
        assert await own.nothing()
        assert await other.nothing()


# --- Work


class ByTeam(BaseFilterBackend):
    """Looks at the query and at nothing else."""

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        return queryset.filter(team=request.query_params["team"])


async def test_a_filter_by_the_query_alone_is_shared() -> None:
    team = await Team.objects.acreate(name="team")
    users = [await User.objects.acreate(username=f"u{n}") for n in range(CLIENTS)]
    consumer = filtered(ByTeam)
    async with AsyncExitStack() as stack:
        clients = []
        for number, user in enumerate(users):
            client = await stack.enter_async_context(Client(consumer, user))
            junk = {"junk": number, "limit": number, "data": {"more": number}}
            query = {"team": team.pk, "further": number}
            await client.ask("subscribe_list", request_id=1, query=query, **junk)
            clients.append(client)
        ann = await Person.objects.acreate(name="Ann", team=team)
        for client in clients:
            await client.next()
        statements, heard = await saved(ann, clients)

        assert statements.reads == 1
        assert [row["name"] for row in heard] == ["Ann"] * CLIENTS


async def test_arguments_that_mean_nothing_make_no_view_of_their_own() -> None:
    async with Client(PersonConsumer) as client:
        for number in range(10):
            await client.ask("subscribe_list", request_id=number, junk=number)
        async with counting() as statements:
            await client.ask("subscribe_list", request_id=10, junk=[{"x": number}])
            await Person.objects.acreate(name="Ann")
            heard = [await client.next() for _ in range(11)]

    assert [event["action"] for event in heard] == ["create"] * 11
    reads = [sql for sql in statements if sql.startswith("SELECT")]
    assert len(reads) == 1, "no count for the list, and one query for the change"
    turbo.flush()
