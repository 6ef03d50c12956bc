"""Who may connect, act, subscribe, and be told."""

from __future__ import annotations

import functools
import threading
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.test import override_settings
from rest_framework import permissions as drf

from tests.observers.app.consumers import PersonConsumer
from tests.observers.app.models import Person
from tests.observers.clients import Client
from tests.support.servers import PATIENCE
from turbo.observers import (
    AllowAny,
    AsyncAPIConsumer,
    BasePermission,
    GenericAsyncAPIConsumer,
    IsAuthenticated,
    ListModelMixin,
    ObserverModelInstanceMixin,
    ObserverModelListMixin,
    action,
)

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

DENIED = ["You do not have permission to perform this action."]


@pytest.fixture
def user() -> User:
    return User.objects.create(username="user")


@pytest.fixture
def ann(user: User) -> Person:
    return Person.objects.create(name="Ann", owner=user)


def told(message: dict[str, Any]) -> tuple[Any, int, Any, list[Any]]:
    return (
        message["action"],
        message["response_status"],
        message["data"],
        message["errors"],
    )


class EchoConsumer(AsyncAPIConsumer):
    @action()
    async def echo(self, **kwargs: Any) -> Any:
        return "echo", 200

    @action()
    async def whisper(self, **kwargs: Any) -> Any:
        return "whisper", 200


async def connects(consumer: type[Any], user: Any = None) -> bool:
    communicator = WebsocketCommunicator(consumer.as_asgi(), "/ws/")
    if user is not None:
        communicator.scope["user"] = user
    connected, code = await communicator.connect(timeout=PATIENCE)
    assert connected or code == 4403
    await communicator.disconnect(timeout=PATIENCE)
    return connected


def with_permissions(*classes: Any, base: type[Any] = EchoConsumer) -> type[Any]:
    return type("Permitted", (base,), {"permission_classes": classes})


def plainly(function: Any) -> Any:
    """Decorate a coroutine, so that it no longer looks like one."""

    @functools.wraps(function)
    def decorated(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return decorated


class NeverConnect(BasePermission):
    async def can_connect(self, scope: Any, consumer: Any, message: Any = None) -> bool:
        return False


class NeverConnectDecorated(BasePermission):
    can_connect = plainly(NeverConnect.can_connect)


class AsyncDRF(drf.BasePermission):
    """A coroutine, which DRF itself would take for a yes."""

    async def has_permission(self, request: Any, view: Any) -> bool:  # type: ignore[override]
        return bool(request.user.is_authenticated)


class OnlyEcho(BasePermission):
    message = "Only echo, please."

    async def has_permission(
        self, scope: Any, consumer: Any, action: str, **kwargs: Any
    ) -> bool:
        return action in ("echo", "ping")


class OnlyEchoDecorated(OnlyEcho):
    has_permission = plainly(OnlyEcho.has_permission)


class PlainOnlyEcho(BasePermission):
    """Not a coroutine: may use the database."""

    def has_permission(  # type: ignore[override]
        self, scope: Any, consumer: Any, action: str, **kwargs: Any
    ) -> bool:
        return User.objects.exists() and action in ("echo", "ping")


@pytest.mark.parametrize(
    ("classes", "anonymous", "logged_in"),
    [
        ((AllowAny,), True, True),
        ((NeverConnect,), False, False),
        ((NeverConnectDecorated,), False, False),
        ((AsyncDRF,), False, True),
        ((~AsyncDRF,), True, False),
        ((AllowAny & NeverConnect,), False, False),
        ((AllowAny | NeverConnect,), True, True),
        ((~NeverConnect,), True, True),
        ((drf.IsAuthenticated,), False, True),
        ((drf.IsAuthenticated | drf.AllowAny,), True, True),
        ((drf.IsAuthenticated & AllowAny,), False, True),
        ((AllowAny & drf.IsAuthenticated,), False, True),
        ((~drf.IsAuthenticated,), True, False),
        ((drf.IsAuthenticatedOrReadOnly,), True, True),
        ((drf.IsAdminUser,), False, False),
    ],
)
async def test_connecting(
    classes: Any, anonymous: bool, logged_in: bool, user: User
) -> None:
    consumer = with_permissions(*classes)

    assert await connects(consumer) is anonymous
    assert await connects(consumer, AnonymousUser()) is anonymous
    assert await connects(consumer, user) is logged_in


@pytest.mark.parametrize(
    "permission",
    [OnlyEcho, PlainOnlyEcho, OnlyEchoDecorated, OnlyEcho & AllowAny],
)
async def test_each_action_is_asked_for(permission: Any, user: User) -> None:
    async with Client(with_permissions(permission)) as client:
        echo = await client.ask("echo")
        whisper = await client.ask("whisper")
        unknown = await client.ask("unknown")

    assert told(echo) == ("echo", 200, "echo", [])
    assert whisper["response_status"] == unknown["response_status"] == 403
    assert whisper["errors"] == (
        DENIED if permission is PlainOnlyEcho else ["Only echo, please."]
    )
    assert whisper["data"] is None


async def test_being_logged_in_is_asked_for_each_action(user: User) -> None:
    consumer = with_permissions(IsAuthenticated)
    async with Client(consumer) as nobody, Client(consumer, user) as somebody:
        refused, answered = await nobody.ask("echo"), await somebody.ask("echo")

    assert told(refused) == ("echo", 403, None, DENIED)
    assert told(answered) == ("echo", 200, "echo", [])


async def test_default_permissions_come_from_the_settings(user: User) -> None:
    path = "turbo.observers.IsAuthenticated"
    with override_settings(TURBO={"OBSERVERS": {"PERMISSION_CLASSES": [path]}}):
        async with Client(EchoConsumer) as client:
            refused = await client.ask("echo")
        async with Client(with_permissions()) as client:
            free = await client.ask("echo")

    assert refused["response_status"] == 403
    assert free["response_status"] == 200


async def test_permissions_may_be_chosen_by_action() -> None:
    class ChoosyConsumer(EchoConsumer):
        async def get_permissions(self, action: str, **kwargs: Any) -> Any:
            return [OnlyEcho()] if action == "whisper" else [drf.AllowAny()]

    async with Client(ChoosyConsumer) as client:
        assert (await client.ask("echo"))["response_status"] == 200
        assert (await client.ask("whisper"))["response_status"] == 403


async def test_drf_permissions_see_the_message_as_a_request(user: User) -> None:
    class Curious(drf.BasePermission):
        def has_permission(self, request: Any, view: Any) -> bool:
            seen.append(
                (request.method, request.path, request.data, dict(request.query_params))
            )
            assert request.user == user
            assert request.META["HTTP_X_TOKEN"] == "t"
            assert request._request.user == user
            return True

    class Consumer(PersonConsumer):
        permission_classes = (Curious,)

    seen: list[Any] = []
    headers = [(b"x-token", b"t")]
    ann = await Person.objects.acreate(name="Ann")
    async with Client(Consumer, user, headers=headers) as client:
        await client.ask("create", data={"name": "Bob"})
        await client.ask("list", query={"team": 3, "active": True, "tag": [1, 2]})
        await client.ask("update", pk=ann.pk, data={"name": "Anne"})
        await client.ask("subscribe_instance", pk=ann.pk)
        await client.ask("no_such_action")

    methods = [method for method, *_ in seen]
    assert methods == ["HEAD", "POST", "GET", "PUT", "GET", "NO_SUCH_ACTION"]
    assert seen[1][1:3] == ("/ws/", {"name": "Bob"})
    assert seen[2][3] == {"team": ["3"], "active": ["true"], "tag": ["1", "2"]}


async def test_model_permissions_of_drf(user: User) -> None:
    class Consumer(PersonConsumer):
        permission_classes = (drf.DjangoModelPermissions,)

    async with Client(Consumer, user) as client:
        listed = await client.ask("list")
        refused = await client.ask("create", data={"name": "Ann"})
    permission = await Permission.objects.aget(
        codename="add_person", content_type__app_label="observers_app"
    )
    await user.user_permissions.aadd(permission)
    again = await User.objects.aget(pk=user.pk)
    async with Client(Consumer, again) as client:
        created = await client.ask("create", data={"name": "Ann"})

    assert listed["response_status"] == 200
    assert refused["response_status"] == 403
    assert created["response_status"] == 201


class IsOwner(drf.BasePermission):
    message = "Not yours."

    def has_object_permission(self, request: Any, view: Any, obj: Person) -> bool:
        return obj.owner_id == request.user.pk


class IsOwnerToo(BasePermission):
    message = "Not yours."

    async def has_object_permission(
        self, scope: Any, consumer: Any, action: str, obj: Person, **kwargs: Any
    ) -> bool:
        return obj.owner_id == scope["user"].pk


class IsOwnerDecorated(IsOwnerToo):
    has_object_permission = plainly(IsOwnerToo.has_object_permission)


class IsStranger(drf.BasePermission):
    def has_object_permission(self, request: Any, view: Any, obj: Person) -> bool:
        return obj.owner_id != request.user.pk


OWNERS = [
    IsOwner,
    IsOwnerToo,
    IsOwnerDecorated,
    IsOwner & drf.AllowAny,
    AllowAny & IsOwner,
]


@pytest.mark.parametrize("permission", OWNERS)
async def test_objects_are_asked_for(permission: Any, user: User, ann: Person) -> None:
    stranger = await User.objects.acreate(username="stranger")
    consumer = with_permissions(permission, base=PersonConsumer)
    async with Client(consumer, user) as own, Client(consumer, stranger) as other:
        for name in ("retrieve", "subscribe_instance"):
            assert (await own.ask(name, pk=ann.pk))["response_status"] < 300
            assert told(await other.ask(name, pk=ann.pk)) == (
                name,
                403,
                None,
                ["Not yours."],
            )
        for name in ("update", "patch", "delete"):
            refused = await other.ask(name, pk=ann.pk, data={"name": "x"})
            assert refused["response_status"] == 403
        await ann.asave()

        assert (await own.next())["action"] == "update"
        assert await other.nothing()


@pytest.mark.parametrize(
    ("permission", "allowed"),
    [
        (IsOwner | drf.IsAdminUser, True),
        (drf.IsAdminUser | IsOwnerToo, True),
        (~drf.IsAdminUser, True),
        (~(~IsOwner), True),
        (drf.IsAdminUser | IsStranger, False),
    ],
)
async def test_objects_and_operators(
    permission: Any, allowed: bool, user: User, ann: Person
) -> None:
    consumer = with_permissions(permission, base=PersonConsumer)
    async with Client(consumer, user) as client:
        answer = await client.ask("retrieve", pk=ann.pk)

    assert (answer["response_status"] == 200) is allowed


class Slow(drf.BasePermission):
    """Slow for one user; the others are answered while that one is being asked."""

    asked, answered = threading.Event(), threading.Event()

    def has_permission(self, request: Any, view: Any) -> bool:
        if request.user.username == "slow":
            self.asked.set()
            self.answered.wait(PATIENCE)
        return True


async def test_nobody_waits_for_another_users_permission(user: User) -> None:
    slow = await User.objects.acreate(username="slow")
    connected = with_permissions(Slow)
    Slow.answered.set()
    async with Client(connected, slow) as hers, Client(connected, user) as his:
        Slow.answered.clear()
        try:
            Slow.asked.clear()
            await hers.send(action="echo", request_id=1)
            await sync_to_async(Slow.asked.wait, thread_sensitive=False)(PATIENCE)

            assert told(await his.ask("echo"))[1] == 200
        finally:
            Slow.answered.set()

        assert told(await hers.next())[1] == 200


class WithinAction(BasePermission):
    """Asked where the action runs, whose transaction is that thread's."""

    def has_permission(  # type: ignore[override]
        self, scope: Any, consumer: Any, action: str, **kwargs: Any
    ) -> bool:
        return consumer.thread in (None, threading.get_ident())

    def has_object_permission(  # type: ignore[override]
        self, scope: Any, consumer: Any, action: str, obj: Person, **kwargs: Any
    ) -> bool:
        return bool(consumer.thread == threading.get_ident())


class MakingConsumer(GenericAsyncAPIConsumer):
    queryset = Person.objects.all()
    thread: int | None = None

    @action(atomic=True)
    def make(self, **kwargs: Any) -> Any:
        self.thread = threading.get_ident()
        person = Person.objects.create(name="New")
        self.check_object_permissions(person)
        async_to_sync(self.check_permissions)("make")
        return person.name, 201


@pytest.mark.parametrize("permission", [WithinAction, AllowAny & WithinAction])
async def test_permissions_see_the_transaction_of_the_action(permission: Any) -> None:
    async with Client(with_permissions(permission, base=MakingConsumer)) as client:
        assert told(await client.ask("make")) == ("make", 201, "New", [])


class Toggle(BasePermission):
    allowed: Any = True
    message = "Not now."

    async def has_permission(
        self, scope: Any, consumer: Any, action: str, **kwargs: Any
    ) -> bool:
        return Toggle.allowed is True or action in Toggle.allowed


class PlainToggle(Toggle):
    def has_permission(
        self, scope: Any, consumer: Any, action: str, **kwargs: Any
    ) -> Any:
        return Toggle.allowed is True or action in Toggle.allowed


class DecoratedToggle(Toggle):
    has_permission = plainly(Toggle.has_permission)


class DRFToggle(drf.BasePermission):
    message = "Not now."

    def has_permission(self, request: Any, view: Any) -> bool:
        return Toggle.allowed is True


@pytest.fixture
def _allowed() -> Any:
    Toggle.allowed = True
    yield
    Toggle.allowed = True


@pytest.mark.usefixtures("_allowed")
@pytest.mark.parametrize(
    "permission",
    [Toggle, PlainToggle, DecoratedToggle, DRFToggle, Toggle & AllowAny],
)
async def test_a_refused_event_is_an_error_and_no_data(
    permission: Any, layer: str, ann: Person
) -> None:
    """Regression: the peer sends the error and then the data all the same."""
    consumer = with_permissions(permission, base=PersonConsumer)
    async with Client(consumer) as client:
        await client.ask("subscribe_instance", request_id=4, pk=ann.pk)
        await client.ask("subscribe_list", request_id=5)
        Toggle.allowed = ["ping"] if permission is not DRFToggle else False
        await ann.asave()
        refused = sorted(
            [await client.next(), await client.next()], key=lambda m: m["request_id"]
        )
        Toggle.allowed = True
        silent = await client.nothing()
        await ann.asave()
        ended = await client.nothing()

    assert refused == [
        {
            "action": "update",
            "errors": ["Not now."],
            "response_status": 403,
            "request_id": request_id,
            "data": None,
        }
        for request_id in (4, 5)
    ]
    assert silent, "the error and nothing else"
    assert ended, "who may not subscribe is not subscribed any more"


@pytest.mark.usefixtures("_allowed")
async def test_refusing_one_kind_of_event_keeps_the_subscription(ann: Person) -> None:
    consumer = with_permissions(Toggle, base=PersonConsumer)
    async with Client(consumer) as client:
        await client.ask("subscribe_instance", request_id=4, pk=ann.pk)
        Toggle.allowed = ["subscribe_instance", "delete", "ping"]
        await ann.asave()
        refused = await client.next()
        await ann.adelete()
        deleted = await client.next()

    assert told(refused) == ("update", 403, None, ["Not now."])
    assert told(deleted)[:2] == ("delete", 204)


@pytest.mark.parametrize("permission", OWNERS)
async def test_an_object_that_is_given_away_is_told_no_more(
    permission: Any, user: User, ann: Person
) -> None:
    consumer = with_permissions(permission, base=PersonConsumer)
    async with Client(consumer, user) as client:
        await client.ask("subscribe_instance", request_id=4, pk=ann.pk)
        ann.owner = None
        await ann.asave()
        refused = await client.next()
        ann.owner = user
        await ann.asave()

        assert told(refused) == ("update", 403, None, ["Not yours."])
        assert await client.nothing()


async def test_some_are_told_and_others_are_refused(user: User, ann: Person) -> None:
    class NotEve(BasePermission):
        async def has_permission(
            self, scope: Any, consumer: Any, action: str, **kwargs: Any
        ) -> bool:
            return not kwargs.get("event") or scope["user"].username != "eve"

    eve = await User.objects.acreate(username="eve")
    consumer = with_permissions(NotEve, base=PersonConsumer)
    async with Client(consumer, user) as one, Client(consumer, eve) as other:
        for client in (one, other):
            await client.ask("subscribe_instance", request_id=4, pk=ann.pk)
        await ann.asave()

        assert (await one.next())["response_status"] == 200
        assert (await other.next())["response_status"] == 403
        assert await other.nothing()


async def test_own_check_permissions_is_asked_for_events(ann: Person) -> None:
    class Consumer(PersonConsumer):
        async def check_permissions(self, action: str, **kwargs: Any) -> None:
            if action == "update" and kwargs.get("event"):
                raise drf.exceptions.PermissionDenied("Own words.")

    async with Client(Consumer) as client:
        await client.ask("subscribe_instance", request_id=4, pk=ann.pk)
        await ann.asave()

        assert told(await client.next()) == ("update", 403, None, ["Own words."])


async def test_a_failing_permission_is_a_500_and_no_data(
    ann: Person, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(BasePermission):
        async def has_permission(
            self, scope: Any, consumer: Any, action: str, **kwargs: Any
        ) -> bool:
            if kwargs.get("event"):
                raise RuntimeError("a bug")
            return True

    async with Client(with_permissions(Broken, base=PersonConsumer)) as client:
        await client.ask("subscribe_instance", request_id=4, pk=ann.pk)
        await ann.asave()
        event = await client.next()

    assert told(event) == ("update", 500, None, ["Internal server error"])
    assert "a bug" in caplog.text


class OwnPeopleConsumer(
    ListModelMixin,
    ObserverModelListMixin,
    ObserverModelInstanceMixin,
    GenericAsyncAPIConsumer,
):
    queryset = Person.objects.all()
    serializer_class = PersonConsumer.serializer_class

    def get_queryset(self, **kwargs: Any) -> Any:
        return Person.objects.filter(owner=self.scope["user"])


async def test_objects_chosen_by_user(user: User, ann: Person) -> None:
    """`get_queryset` decides for each client, at each event."""
    stranger = await User.objects.acreate(username="stranger")
    async with (
        Client(OwnPeopleConsumer, user) as own,
        Client(OwnPeopleConsumer, stranger) as other,
    ):
        await own.ask("subscribe_instance", request_id=1, pk=ann.pk)
        refused = await other.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await own.ask("subscribe_list", request_id=2)
        await other.ask("subscribe_list", request_id=3)
        ann.owner = stranger
        await ann.asave()
        own_events = sorted(
            [await own.next(), await own.next()], key=lambda m: m["request_id"]
        )
        other_event = await other.next()

        assert refused["response_status"] == 404
        assert [told(e)[:3] for e in own_events] == [
            ("delete", 204, {"pk": ann.pk})
        ] * 2
        assert (other_event["request_id"], other_event["action"]) == (3, "create")
        assert await own.nothing()
        assert await other.nothing()
