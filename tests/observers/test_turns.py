"""Nobody waits for what is asked or read for another user's events."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from rest_framework.filters import BaseFilterBackend

from tests.observers.app.consumers import PersonConsumer
from tests.observers.app.models import Person
from tests.observers.clients import Client
from tests.support.servers import PATIENCE
from turbo.connections.revocation import recheck
from turbo.delivery.frame import Frame
from turbo.delivery.protocol import CloseCode
from turbo.observers import AllowAny, BasePermission
from turbo.observers.connection.worker import Delivery, Worker
from turbo.observers.events import deliver

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


class Gate:
    """Holds up whoever asks for Eve, once it is shut."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def shut(self) -> None:
        self.reached.clear()
        self.open.clear()

    def pass_through(self, user: User) -> bool:
        if user.username == "eve" and not self.open.is_set():
            self.reached.set()
            self.open.wait(PATIENCE)
        return True

    async def apass_through(self, user: User) -> bool:
        return await sync_to_async(self.pass_through, thread_sensitive=False)(user)

    async def until_reached(self) -> None:
        wait = sync_to_async(self.reached.wait, thread_sensitive=False)
        assert await wait(PATIENCE)


gate = Gate()


@pytest.fixture(autouse=True)
def _gate() -> Iterator[None]:
    yield
    gate.open.set()


class Plain(BasePermission):
    def has_permission(  # type: ignore[override]
        self, scope: Any, consumer: Any, action: str, **kwargs: Any
    ) -> bool:
        return not kwargs.get("event") or gate.pass_through(scope["user"])


class Coroutine(BasePermission):
    async def has_permission(
        self, scope: Any, consumer: Any, action: str, **kwargs: Any
    ) -> bool:
        return not kwargs.get("event") or await gate.apass_through(scope["user"])


class OfObjects(BasePermission):
    def has_object_permission(  # type: ignore[override]
        self, scope: Any, consumer: Any, action: str, obj: Any, **kwargs: Any
    ) -> bool:
        return gate.pass_through(scope["user"])


class Reading(BaseFilterBackend):
    """Looks at the user, so each client's rows are read for itself."""

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        gate.pass_through(request.user)
        return queryset


class OwnPermissionsConsumer(PersonConsumer):
    permission_classes = (AllowAny,)

    def check_object_permissions(
        self, obj: Any, action: str | None = None, **kwargs: Any
    ) -> None:
        gate.pass_through(self.scope["user"])


def made(**attributes: Any) -> type[PersonConsumer]:
    return type("Made", (PersonConsumer,), attributes)


CONSUMERS = {
    "plain": made(permission_classes=(Plain,)),
    "coroutine": made(permission_classes=(Coroutine,)),
    "operator": made(permission_classes=(Plain & AllowAny,)),
    "of objects": made(permission_classes=(OfObjects,)),
    "own": OwnPermissionsConsumer,
    "reading": made(permission_classes=(AllowAny,), filter_backends=(Reading,)),
}


async def people() -> tuple[User, User, Person]:
    eve = await User.objects.acreate(username="eve")
    ann = await User.objects.acreate(username="ann")
    return eve, ann, await Person.objects.acreate(name="0")


async def name_of_next(client: Client) -> str:
    event = await client.next()
    assert event["action"] == "update"
    name: str = event["data"]["name"]
    return name


async def change(person: Any, names: str, client: Client) -> None:
    """Rename a person again and again; the client is told while eve is asked for."""
    for name in names:
        person.name = name
        await person.asave()
        await gate.until_reached()

        assert await name_of_next(client) == name


@pytest.mark.parametrize("kind", CONSUMERS)
@pytest.mark.parametrize("action", ["subscribe_instance", "subscribe_list"])
async def test_nobody_waits_for_another_users_events(kind: str, action: str) -> None:
    """And each client hears of the changes in their order."""
    eve, ann, person = await people()
    consumer = CONSUMERS[kind]
    async with Client(consumer, eve) as hers, Client(consumer, ann) as his:
        for client in (hers, his):
            await client.ask(action, request_id=1, pk=person.pk)
        gate.shut()
        await change(person, "123", his)
        answer = await his.ask("list")
        gate.open.set()
        heard = [await name_of_next(hers)]
        while heard[-1] != "3":
            heard.append(await name_of_next(hers))

        assert answer["response_status"] == 200
        assert heard == sorted(heard)
        assert await hers.nothing()


async def test_nobody_waits_for_another_users_recheck() -> None:
    eve, ann, person = await people()
    consumer = CONSUMERS["of objects"]
    async with Client(consumer, eve) as hers, Client(consumer, ann) as his:
        await hers.ask("subscribe_instance", request_id=1, pk=person.pk)
        gate.shut()
        await sync_to_async(recheck)(eve)
        await gate.until_reached()
        answer = await his.ask("retrieve", pk=person.pk)
        gate.open.set()

        assert answer["response_status"] == 200
        assert await hers.nothing()


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
async def test_who_lags_is_closed(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a user's permissions is bounded."""
    monkeypatch.setattr(deliver, "WAITING", 3)
    eve, ann, person = await people()
    consumer = CONSUMERS[kind]
    async with Client(consumer, ann) as his:
        await his.ask("subscribe_instance", request_id=1, pk=person.pk)
        async with Client(consumer, eve) as hers:
            await hers.ask("subscribe_instance", request_id=1, pk=person.pk)
            gate.shut()
            await change(person, "12345", his)
            end = await hers.communicator.receive_output(PATIENCE)
            gate.open.set()

    assert end == {"type": "websocket.close", "code": CloseCode.SLOW}


@pytest.mark.usefixtures("_switched")
async def test_a_view_that_is_parted_keeps_the_order() -> None:
    """What waits for rows that all shared is told after what each is told alone."""
    eve, ann, person = await people()
    consumer = made(permission_classes=(AllowAny,), filter_backends=(Switched,))
    async with Client(consumer, eve) as hers, Client(consumer, ann) as his:
        for client in (hers, his):
            await client.ask("subscribe_list", request_id=1)
        Switched.strict = True
        gate.shut()
        for name in "123":
            person.name = name
            await person.asave()
            await gate.until_reached()

            assert await name_of_next(his) == name
        gate.open.set()
        heard = [await name_of_next(hers)]
        while heard[-1] != "3":
            heard.append(await name_of_next(hers))

        assert heard == sorted(heard)
        assert await hers.nothing()


class Switched(BaseFilterBackend):
    """Looks for the client from some moment on."""

    strict = False

    def filter_queryset(self, request: Any, queryset: Any, view: Any) -> Any:
        if self.strict:
            gate.pass_through(request.user)
        return queryset


@pytest.fixture
def _switched() -> Iterator[None]:
    yield
    Switched.strict = False


class Place:
    """A subscription without a client."""

    def __init__(self) -> None:
        self.failed = False

    def fail(self) -> None:
        self.failed = True


class StuckWorker(Worker):
    """Gets stuck with the first message."""

    def __init__(self) -> None:
        super().__init__()
        self.handled: asyncio.Queue[list[str]] = asyncio.Queue()

    async def handle(self, entries: Sequence[Delivery]) -> None:
        texts = [frame.text for frame, _ in entries]
        await self.handled.put(texts)
        if texts == ["first"]:
            await asyncio.Event().wait()


async def test_what_comes_while_the_work_of_others_is_being_ended_is_done() -> None:
    """Regression: it lay until the next message, if there was one."""
    worker, before, after = StuckWorker(), Place(), Place()
    worker.join(before)
    worker.take(Frame("first"), before)
    assert await worker.handled.get() == ["first"]
    worker.take(Frame("for nobody"), before)

    worker.leave(before)
    worker.join(after)
    worker.take(Frame("second"), after)
    assert await asyncio.wait_for(worker.handled.get(), PATIENCE) == ["second"]
    worker.take(Frame("third"), after)
    assert await asyncio.wait_for(worker.handled.get(), PATIENCE) == ["third"]
    assert not before.failed
    assert not after.failed
