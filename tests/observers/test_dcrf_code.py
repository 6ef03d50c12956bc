"""Code that was written for Django Channels REST Framework works unchanged."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from channels.layers import get_channel_layer
from channels.testing import ApplicationCommunicator, WebsocketCommunicator
from django.contrib.auth.models import Permission, User
from django.dispatch import Signal
from rest_framework import permissions as drf
from rest_framework.exceptions import PermissionDenied

from tests.observers.app.consumers import PersonConsumer
from tests.observers.app.models import Person
from tests.observers.app.serializers import PersonSerializer
from tests.observers.clients import Client
from tests.support.servers import PATIENCE
from turbo.exceptions import ConfigurationError
from turbo.observers import (
    Action,
    AsyncAPIConsumer,
    GenericAsyncAPIConsumer,
    Multiplexer,
    ObserverModelInstanceMixin,
    PaginatedModelListMixin,
    StreamedPaginatedListMixin,
    WebsocketLimitOffsetPagination,
    action,
    detached,
    model_observer,
    observer,
)

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


class GreetingConsumer(AsyncAPIConsumer):
    def __init__(self, greeting: str = "Hi") -> None:
        super().__init__()
        self.greeting = greeting

    @action()
    async def greet(self, **kwargs: Any) -> Any:
        return self.greeting, 200


async def test_a_consumer_is_an_application_for_one_connection() -> None:
    consumer = GreetingConsumer("Good day")
    communicator = WebsocketCommunicator(consumer, "/ws/")

    assert await communicator.connect(timeout=PATIENCE) == (True, None)
    await communicator.send_json_to({"action": "greet", "request_id": 1})
    answer = await communicator.receive_json_from(PATIENCE)
    await communicator.disconnect(timeout=PATIENCE)

    assert (answer["data"], consumer.scope["path"]) == ("Good day", "/ws/")


async def test_a_multiplexer_is_an_application_as_well() -> None:
    class Everything(Multiplexer):
        consumers: ClassVar[Any] = {"people": PersonConsumer}

    communicator = WebsocketCommunicator(Everything(), "/ws/")

    assert await communicator.connect(timeout=PATIENCE) == (True, None)
    await communicator.disconnect(timeout=PATIENCE)


async def test_a_consumer_in_a_route_does_not_mix_up_its_clients() -> None:
    """Channels' own consumers give the second client the attributes of the first."""
    consumer = GreetingConsumer()
    first = WebsocketCommunicator(consumer, "/ws/")
    second = ApplicationCommunicator(consumer, first.scope)
    await first.connect(timeout=PATIENCE)

    with pytest.raises(ConfigurationError, match=r"Route to \S+as_asgi\(\), which"):
        await second.wait(PATIENCE)

    await first.disconnect(timeout=PATIENCE)


def test_options_of_an_action_that_are_the_projects_own_are_kept() -> None:
    class DescribedConsumer(AsyncAPIConsumer):
        @action(docs="Says hello.")
        async def greet(self, **kwargs: Any) -> Any: ...

        @action(name="bye", docs="Says good bye.")
        def leave(self, **kwargs: Any) -> Any: ...

    actions = DescribedConsumer.available_actions
    docs = {
        name: getattr(DescribedConsumer, method).kwargs.get("docs")
        for name, method in actions.items()
    }

    assert docs == {"greet": "Says hello.", "bye": "Says good bye.", "ping": None}


def test_an_atomic_coroutine_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="is a coroutine"):

        @action(atomic=True)
        async def one(self: Any) -> None: ...


async def test_a_connection_passes_through_the_method_that_asgi_calls() -> None:
    class MarkedConsumer(GreetingConsumer):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            """Say hello to somebody."""
            self.greeting += f", {scope['who']}"
            await super().__call__(scope, receive, send)

    class Route:
        @staticmethod
        def as_asgi() -> Any:
            return MarkedConsumer.as_asgi(greeting="Hello")

    async with Client(Route, who="Ann") as one, Client(Route, who="Bob") as two:
        assert (await one.ask("greet"))["data"] == "Hello, Ann"
        assert (await two.ask("greet"))["data"] == "Hello, Bob"


class RoomConsumer(AsyncAPIConsumer):
    async def accept(self, *args: Any, **kwargs: Any) -> None:
        await RoomConsumer.people.subscribe(self, 1, request_id=1)
        await super().accept(*args, **kwargs)

    @model_observer(Person)
    async def people(self, message: Any, action: str, **kwargs: Any) -> None:
        await self.send_json([action, message, kwargs["subscribing_request_ids"]])

    @people.serializer
    def serialize_person(self, instance: Person, action: Action, **kwargs: Any) -> Any:
        return PersonSerializer(instance)

    @people.groups_for_signal
    def person_groups(self, instance: Person, **kwargs: Any) -> Iterator[str]:
        yield "team-1"

    @people.groups_for_consumer
    def room_groups(self, team: int, **kwargs: Any) -> Iterator[str]:
        yield f"team-{team}"

    @action()
    async def leave(self, **kwargs: Any) -> Any:
        return await RoomConsumer.people.unsubscribe(self, 1), 200


async def test_observers_are_used_as_dcrf_documents() -> None:
    """Through the class, by position, and with decorators that have other names."""
    async with Client(RoomConsumer) as client:
        ann = await Person.objects.acreate(name="Ann")
        event = await client.next()
        assert await client.nothing(), "decorators with other names observe nothing"
        left = await client.ask("leave")
        await ann.asave()
        assert await client.nothing()

    row = {"id": ann.pk, "name": "Ann", "active": True, "team": None}
    assert event == ["create", row, [1]]
    assert left["data"] == ["team-1"]


rang = Signal()


class BellConsumer(AsyncAPIConsumer):
    async def accept(self, *args: Any, **kwargs: Any) -> None:
        await super().accept(*args, **kwargs)
        await self.bell.subscribe()

    @observer(rang)
    async def bell(self, message: Any, **kwargs: Any) -> None:
        await self.send_json(message)

    @bell.serializer
    def serialize_ring(self, signal: Any, sender: Any, **kwargs: Any) -> Any:
        return PersonSerializer(Person(name=sender))


async def test_observers_of_signals_are_used_as_dcrf_documents() -> None:
    async with Client(BellConsumer) as client:
        assert await client.nothing(), "it has subscribed"
        await sync_to_async(rang.send)("Ann")

        assert (await client.next())["name"] == "Ann"
        assert await client.nothing()


def test_an_option_that_an_observer_does_not_have_is_refused() -> None:
    with pytest.raises(TypeError, match="serializer"):
        model_observer(Person, serializer=PersonSerializer)  # type: ignore[call-arg]


class OnePerPage(WebsocketLimitOffsetPagination):
    default_limit = 1


class StreamedConsumer(StreamedPaginatedListMixin, GenericAsyncAPIConsumer):
    queryset = Person.objects.order_by("id")
    serializer_class = PersonSerializer
    pagination_class = OnePerPage
    sleep_time_between_pages = 600


async def test_a_list_that_comes_by_pages_is_cancelled() -> None:
    """Other actions run meanwhile, and the next page waits for its time."""
    for name in ("Ann", "Bob"):
        await Person.objects.acreate(name=name)
    async with Client(StreamedConsumer) as client:
        page = await client.ask("list", request_id=1)
        assert await client.nothing()
        cancelled = await client.ask("list_cancel", request_id=2)
        again = await client.ask("list_cancel", request_id=3)
        assert await client.nothing()

    assert [row["name"] for row in page["data"]["results"]] == ["Ann"]
    for answer in (cancelled, again):
        assert (answer["response_status"], answer["data"]) == (200, None)


class WaitingConsumer(AsyncAPIConsumer):
    @action(detached=True)
    async def wait(self, **kwargs: Any) -> Any:
        await asyncio.Event().wait()

    @detached
    async def wait_as_well(self) -> None:
        await asyncio.Event().wait()

    @action()
    async def tasks(self, **kwargs: Any) -> Any:
        await self.wait_as_well()
        running = {name: len(tasks) for name, tasks in self.detached_tasks.items()}
        for tasks in self.detached_tasks.values():
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        left = {name: len(tasks) for name, tasks in self.detached_tasks.items()}
        return [running, left], 200


async def test_detached_tasks_are_known_by_the_name_of_their_method() -> None:
    async with Client(WaitingConsumer) as client:
        await client.send(action="wait")
        answer = await client.ask("tasks")

    assert answer["data"] == [
        {"wait": 1, "wait_as_well": 1},
        {"wait": 0, "wait_as_well": 0},
    ]


class HallConsumer(AsyncAPIConsumer):
    """Joins and leaves a group as the tutorial of Channels does."""

    async def connect(self) -> None:
        await self.channel_layer.group_add("hall", self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard("hall", self.channel_name)

    async def hall_said(self, message: Any) -> None:
        await self.send_json(message["text"])

    @action()
    def join(self, room: str, **kwargs: Any) -> Any:
        async_to_sync(self.channel_layer.group_add)(room, self.channel_name)
        return None, 200


async def test_a_group_of_the_channel_layer_is_joined_by_the_channels_name(
    layer: str,
) -> None:
    async with Client(HallConsumer) as one, Client(HallConsumer) as two:
        message = {"type": "hall.said", "text": "Hello"}
        await get_channel_layer().group_send("hall", message)

        assert [await one.next(), await two.next()] == ["Hello", "Hello"]


async def test_the_channels_name_is_known_in_threads() -> None:
    class ThreadConsumer(HallConsumer):
        async def connect(self) -> None:
            await self.accept()

    async with Client(ThreadConsumer) as client:
        await client.ask("join", room="hall")
        await get_channel_layer().group_send("hall", {"type": "hall.said", "text": 1})

        assert await client.next() == 1


async def test_a_consumer_without_a_channel_layer_connects() -> None:
    class Consumer(HallConsumer):
        channel_layer_alias = "missing"

        async def connect(self) -> None:
            await self.accept()

        async def disconnect(self, code: int) -> None: ...

    async with Client(Consumer) as client:
        assert (await client.ask("ping"))["response_status"] == 200


class RawConsumer(AsyncAPIConsumer):
    """Takes texts that are no JSON, and bytes."""

    async def receive(
        self, text_data: Any = None, bytes_data: Any = None, **kwargs: Any
    ) -> None:
        if text_data is not None and text_data.startswith("{"):
            await super().receive(text_data=text_data)
        else:
            await self.send_json([text_data, str(bytes_data)])


async def test_frames_pass_through_receive() -> None:
    async with Client(RawConsumer) as client:
        await client.send_text("Hello")
        await client.communicator.send_to(bytes_data=b"1")

        assert await client.next() == ["Hello", "None"]
        assert await client.next() == [None, "b'1'"]
        await client.send_text("x" * 70_000)
        assert (await client.next())["response_status"] == 413
        await client.communicator.send_to(bytes_data=b"x" * 70_000)
        assert (await client.next())["response_status"] == 413
        assert (await client.ask("ping"))["response_status"] == 200


async def test_messages_of_a_multiplexer_pass_through_receive() -> None:
    class LoggingConsumer(AsyncAPIConsumer):
        async def receive(self, text_data: Any = None, **kwargs: Any) -> None:
            received.append(text_data)
            await super().receive(text_data, **kwargs)

    class Everything(Multiplexer):
        consumers: ClassVar[Any] = {"logged": LoggingConsumer}

    received: list[str] = []
    async with Client(Everything) as client:
        payload = {"action": "ping", "request_id": 1}
        await client.send(stream="logged", payload=payload)
        answer = await client.next()

    assert answer["payload"]["response_status"] == 200
    assert received == ['{"action":"ping","request_id":1}']


async def test_a_client_is_refused_by_permission_denied_in_connect() -> None:
    class ClosedConsumer(AsyncAPIConsumer):
        async def connect(self) -> None:
            raise PermissionDenied

    communicator = WebsocketCommunicator(ClosedConsumer.as_asgi(), "/ws/")

    assert await communicator.connect(timeout=PATIENCE) == (False, 4403)


class OwnInstanceConsumer(ObserverModelInstanceMixin, GenericAsyncAPIConsumer):
    queryset = Person.objects.all()
    serializer_class = PersonSerializer

    async def handle_observed_action(
        self, action: str, group: Any = None, **kwargs: Any
    ) -> None:
        await self.send_json({"seen": action, **kwargs})
        if action != "delete":
            await super().handle_observed_action(f"own-{action}", group, **kwargs)


async def test_events_of_an_instance_pass_through_a_consumers_own_method() -> None:
    ann = await Person.objects.acreate(name="Ann")
    async with Client(OwnInstanceConsumer) as client:
        await client.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await client.ask("subscribe_instance", request_id=2, pk=ann.pk)
        pk = ann.pk
        await ann.asave()
        updates = [await client.next() for _ in range(4)]
        await ann.adelete()
        deletes = [await client.next() for _ in range(2)]
        assert await client.nothing()

    seen = {"seen": "update", "pk": pk}
    assert [u for u in updates if "seen" in u] == [seen, seen]
    sent = sorted(
        (u["request_id"], u["action"], u["response_status"], u["data"]["name"])
        for u in updates
        if "seen" not in u
    )
    assert sent == [(1, "own-update", 200, "Ann"), (2, "own-update", 200, "Ann")]
    assert deletes == [{"seen": "delete", "pk": pk}] * 2


async def test_an_observed_action_is_handled_for_an_event_only() -> None:
    with pytest.raises(RuntimeError, match=r"send with reply\(\)"):
        await PersonConsumer().handle_observed_action("update", pk=1)


async def test_a_reply_of_the_projects_own_needs_no_further_argument() -> None:
    class LoudConsumer(PersonConsumer):
        async def reply(
            self,
            action: Any,
            data: Any = None,
            errors: Any = None,
            status: int = 200,
            request_id: Any = None,
        ) -> None:
            await super().reply(f"{action}!", data, errors, status, request_id)

    ann = await Person.objects.acreate(name="Ann")
    async with Client(LoudConsumer) as client:
        answers = [
            await client.ask("retrieve", pk=ann.pk),
            await client.ask("retrieve", pk=0),
            await client.ask("subscribe_instance", pk=ann.pk, snapshot=True),
        ]
        await ann.asave()
        answers.append(await client.next())

    assert [(a["action"], a["response_status"]) for a in answers] == [
        ("retrieve!", 200),
        ("retrieve!", 404),
        ("subscribe_instance!", 201),
        ("update!", 200),
    ]


class OwnPages(WebsocketLimitOffsetPagination):
    def get_limit(self, **kwargs: Any) -> Any:
        return 3 if kwargs.get("size") == "large" else super().get_limit(**kwargs)

    def get_offset(self, **kwargs: Any) -> int:
        return super().get_offset(**kwargs) + kwargs.get("skip", 0)

    def get_paginated_response(self, data: Any) -> Any:
        response = super().get_paginated_response(data)
        response["names"] = [row["name"] for row in response.pop("results")]
        return response


class OwnPagesConsumer(PaginatedModelListMixin, GenericAsyncAPIConsumer):
    queryset = Person.objects.order_by("id")
    serializer_class = PersonSerializer
    pagination_class = OwnPages

    def get_paginated_response(self, data: Any) -> Any:
        assert self.paginator is not None
        return {**super().get_paginated_response(data), "own": True}


@pytest.mark.parametrize(
    ("asked", "limit", "offset", "names"),
    [
        ({"limit": 2}, 2, 0, ["Ann", "Bob"]),
        ({"limit": "2", "offset": "1"}, 2, 1, ["Bob", "Cid"]),
        ({"query": {"limit": 1}}, 1, 0, ["Ann"]),
        ({"size": "large", "skip": 2}, 3, 2, ["Cid", "Dan"]),
        ({"limit": 1, "offset": 4}, 1, 4, []),
        ({"limit": 1, "offset": 9}, 1, 9, []),
        ({"limit": 1, "offset": "x"}, 1, 0, ["Ann"]),
    ],
)
async def test_pages_are_cut_by_methods_of_the_projects_own(
    asked: dict[str, Any], limit: int, offset: int, names: list[str]
) -> None:
    for name in ("Ann", "Bob", "Cid", "Dan"):
        await Person.objects.acreate(name=name)
    async with Client(OwnPagesConsumer) as client:
        answer = await client.ask("list", **asked)

    assert answer["data"] == {
        "count": 4,
        "limit": limit,
        "offset": offset,
        "names": names,
        "own": True,
    }


@pytest.mark.parametrize("limit", [None, 0, -1, "x", [], 10**400])
async def test_a_limit_that_makes_no_sense_is_left_out(limit: Any) -> None:
    await Person.objects.acreate(name="Ann")
    async with Client(StreamedConsumer) as client:
        answer = await client.ask("list", limit=limit)

    assert answer["data"]["limit"] == (1 if limit != 10**400 else 10_000)


async def test_a_consumer_may_make_pages_without_a_class_for_them() -> None:
    class HalfConsumer(PersonConsumer):
        def paginate_queryset(self, queryset: Any, **kwargs: Any) -> Any:
            return queryset[:1]

        def get_paginated_response(self, data: Any) -> Any:
            return {"first": data}

    for name in ("Ann", "Bob"):
        await Person.objects.acreate(name=name)
    async with Client(HalfConsumer) as client:
        listed = await client.ask("list")
        subscribed = await client.ask("subscribe_list", snapshot=True)

    for answer in (listed, subscribed):
        assert [row["name"] for row in answer["data"]["first"]] == ["Ann"]


async def test_a_request_id_is_any_short_value() -> None:
    ids: list[Any] = [{"page": 1, "part": "a"}, [1, "a"], True, 1.5, "x" * 255, None]
    async with Client(PersonConsumer) as client:
        for request_id in ids:
            assert (await client.ask("ping", request_id=request_id))["data"] is None
        ann = await Person.objects.acreate(name="Ann")
        await client.ask("subscribe_instance", request_id=ids[0], pk=ann.pk)
        await ann.asave()
        event = await client.next()
        left = await client.ask("unsubscribe_instance", request_id=ids[0], pk=ann.pk)

    assert (event["action"], event["request_id"]) == ("update", ids[0])
    assert left["response_status"] == 204


async def test_unsubscribing_from_an_object_that_is_missing() -> None:
    """As in DCRF, unless the client had subscribed to it."""
    ann = await Person.objects.acreate(name="Ann")
    async with Client(PersonConsumer) as client:
        unknown = await client.ask("unsubscribe_instance", pk=ann.pk)
        missing = await client.ask("unsubscribe_instance", pk=ann.pk + 1)

    assert (unknown["response_status"], missing["response_status"]) == (204, 404)


class Methods(drf.BasePermission):
    def has_permission(self, request: Any, view: Any) -> bool:
        return request.method in ("HEAD", "SEND_EMAIL", "POST")


class MailConsumer(PersonConsumer):
    permission_classes: Any = (Methods,)

    @action()
    async def send_email(self, **kwargs: Any) -> Any:
        return None, 200

    @action()
    async def publish(self, **kwargs: Any) -> Any:
        return None, 200

    @action()
    async def options(self, **kwargs: Any) -> Any:
        return None, 200


async def test_permissions_of_drf_see_the_name_of_a_custom_action() -> None:
    async with Client(MailConsumer) as client:
        statuses = [
            (await client.ask(name))["response_status"]
            for name in ("send_email", "publish", "options", "list")
        ]

    assert statuses == [200, 403, 200, 403]


async def test_no_custom_action_is_a_safe_method() -> None:
    class ReadOnlyConsumer(MailConsumer):
        permission_classes = (drf.IsAuthenticatedOrReadOnly,)

    async with Client(ReadOnlyConsumer) as client:
        for name in ("send_email", "options"):
            assert (await client.ask(name))["response_status"] == 403


async def test_permissions_for_models_take_custom_actions_for_posts() -> None:
    class ModelConsumer(MailConsumer):
        permission_classes = (drf.DjangoModelPermissions,)

    user = await User.objects.acreate(username="ann")
    async with Client(ModelConsumer, user) as client:
        refused = await client.ask("send_email")
    permission = await Permission.objects.aget(
        codename="add_person", content_type__app_label="observers_app"
    )
    await user.user_permissions.aadd(permission)
    async with Client(ModelConsumer, await User.objects.aget()) as client:
        allowed = await client.ask("send_email")

    assert (refused["response_status"], allowed["response_status"]) == (403, 200)


def test_a_view_is_no_consumer_and_the_import_says_what_to_do() -> None:
    with pytest.raises(ImportError, match="Write an action that calls the same code"):
        from turbo.observers import view_as_consumer  # noqa: F401
    with pytest.raises(ImportError, match="cannot import name 'no_such_name'"):
        from turbo.observers import no_such_name  # noqa: F401
