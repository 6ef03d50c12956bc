"""Subscriptions and permissions that end from the server's side."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.auth import AuthMiddlewareStack
from django.contrib.auth.models import User
from django.test import Client as Browser
from django.test import override_settings
from rest_framework import permissions as drf

import turbo
from tests.observers.app.consumers import PersonConsumer, TeamConsumer
from tests.observers.app.models import Person
from tests.observers.clients import Client
from tests.observers.test_permissions import IsOwner, OwnPeopleConsumer, Toggle
from tests.support.checking import reloading
from tests.support.servers import PATIENCE
from tests.testapp.models import Room
from turbo.delivery.hub import get_hub
from turbo.observers import AllowAny, BasePermission, IsAuthenticated

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

DENIED = ["You do not have permission to perform this action."]


class MembersConsumer(PersonConsumer):
    permission_classes = (drf.IsAuthenticated,)


class OwnersConsumer(PersonConsumer):
    permission_classes = (IsOwner,)


@pytest.fixture
def user() -> User:
    return User.objects.create_user("user", password="secret")


@pytest.fixture
def ann(user: User) -> Person:
    return Person.objects.create(name="Ann", owner=user)


def ended(message: dict[str, Any], action: str = "subscribe_instance") -> bool:
    return (message["action"], message["response_status"]) == (action, 403)


async def test_revoking_a_user_ends_all_they_hold(
    layer: str, user: User, ann: Person
) -> None:
    other = await User.objects.acreate(username="other")
    async with (
        Client(MembersConsumer, user) as one,
        Client(MembersConsumer, other) as two,
    ):
        await one.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await one.ask("subscribe_list", request_id=2)
        await two.ask("subscribe_instance", request_id=3, pk=ann.pk)
        await sync_to_async(turbo.revoke)(user=user)
        ends = [await one.next(), await one.next()]
        await ann.asave()

        assert {m["request_id"] for m in ends} == {1, 2}
        assert ended(ends[0])
        assert await one.nothing()
        assert (await two.next())["action"] == "update"
        # Whoever still may, may come back.
        again = await one.ask("subscribe_instance", request_id=4, pk=ann.pk)
        assert again["response_status"] == 201


async def test_other_revocations_have_objects_asked_again(
    user: User, ann: Person
) -> None:
    """Access to something else was revoked: what follows from that is looked after."""
    room = await Room.objects.acreate(name="r")
    async with (
        Client(OwnersConsumer, user) as objects,
        Client(OwnPeopleConsumer, user) as rows,
    ):
        for client in (objects, rows):
            await client.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await sync_to_async(turbo.revoke)(user=user, stream=room)
        assert await objects.nothing()

        await Person.objects.filter(pk=ann.pk).aupdate(owner=None)
        await sync_to_async(turbo.revoke)(user=user, stream=room)
        assert ended(await objects.next())
        assert ended(await rows.next())


async def test_a_deactivated_user_is_nobody(user: User, ann: Person) -> None:
    class Consumer(PersonConsumer):
        permission_classes = (IsAuthenticated,)

    async with Client(Consumer, user) as client:
        await client.ask("subscribe_instance", request_id=1, pk=ann.pk)
        user.is_active = False
        await user.asave()

        assert ended(await client.next())
        assert (await client.ask("list"))["response_status"] == 403


async def test_who_is_deactivated_during_a_check_is_nobody(
    user: User, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for what everybody may see: it was somebody who subscribed."""
    async with Client(PersonConsumer, user) as client:
        await client.ask("subscribe_instance", request_id=1, pk=ann.pk)
        async with reloading(monkeypatch):
            await User.objects.filter(pk=user.pk).aupdate(is_active=False)
            await get_hub()._recheck()

        assert ended(await client.next())


async def test_a_user_who_loses_a_right_loses_what_needs_it(
    user: User, ann: Person
) -> None:
    class Consumer(TeamConsumer, PersonConsumer):
        permission_classes = (drf.IsAuthenticated & (drf.IsAdminUser | AllowAny),)

    class StaffConsumer(TeamConsumer, PersonConsumer):
        permission_classes = (drf.IsAuthenticated, IsStaffToSubscribe)

    user.is_staff = True
    await user.asave()
    async with Client(Consumer, user) as free, Client(StaffConsumer, user) as client:
        await free.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await client.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await client.ask("subscribe_to_everybody", request_id=2)
        user.is_staff = False
        await user.asave()
        ends = [await client.next(), await client.next()]
        await ann.asave()

        assert {m["action"] for m in ends} == {
            "subscribe_instance",
            "subscribe_to_everybody",
        }
        assert {m["response_status"] for m in ends} == {403}
        assert await client.nothing()
        assert (await free.next())["action"] == "update"


class IsStaffToSubscribe(BasePermission):
    async def has_permission(
        self, scope: Any, consumer: Any, action: str, **kwargs: Any
    ) -> bool:
        return not action.startswith("subscribe") or bool(scope["user"].is_staff)


async def test_periodic_check_ends_what_is_not_permitted_any_more(ann: Person) -> None:
    class Consumer(PersonConsumer):
        permission_classes = (Toggle,)

    with override_settings(TURBO={"RECHECK_INTERVAL": 0.05}):
        async with Client(Consumer) as client:
            await client.ask("subscribe_instance", request_id=1, pk=ann.pk)
            Toggle.allowed = ["ping"]
            try:
                end = await client.next()
            finally:
                Toggle.allowed = True

    assert ended(end)
    assert end["errors"] == ["Not now."]


async def test_logging_out_ends_the_connection_of_the_session(
    user: User, ann: Person
) -> None:
    """Subscriptions end, and the socket that only members may open is closed."""
    browser = Browser()
    await sync_to_async(browser.force_login)(user)
    cookie = f"sessionid={browser.cookies['sessionid'].value}".encode()

    class Stack:
        @staticmethod
        def as_asgi() -> Any:
            return AuthMiddlewareStack(MembersConsumer.as_asgi())

    async with Client(Stack, headers=[(b"cookie", cookie)]) as client:
        await client.ask("subscribe_instance", request_id=1, pk=ann.pk)
        await sync_to_async(browser.get)("/logout/")

        assert ended(await client.next())
        end = await client.communicator.receive_output(PATIENCE)
        assert end == {"type": "websocket.close", "code": 4403}


async def test_who_has_left_ends_nothing(user: User) -> None:
    """Regression: the user was read anew, and counted for a connection that is gone."""

    class LeavingConsumer(PersonConsumer):
        async def disconnect(self, code: int) -> None:
            before = self.revocations.generation
            self.revocations.take(None)
            ended.append(self.revocations.generation - before)

    ended: list[int] = []
    async with Client(LeavingConsumer, user) as client:
        await client.ask("ping")

    assert ended == [0]


@pytest.mark.parametrize(
    ("loses", "statuses"), [(True, (403, 403)), (False, (201, 201))]
)
async def test_who_is_revoked_while_subscribing_is_asked_again(
    user: User, ann: Person, loses: bool, statuses: tuple[int, int]
) -> None:
    class Consumer(OwnersConsumer):
        def check_object_permissions(self, obj: Any, **kwargs: Any) -> None:
            super().check_object_permissions(obj, **kwargs)
            if not revoked:
                revoked.append(True)
                if loses:
                    Person.objects.update(owner=None)
                turbo.revoke(user=user)
                turbo.flush()

    revoked: list[bool] = []
    async with Client(Consumer, user) as client:
        first = await client.ask("subscribe_instance", pk=ann.pk)
        second = await client.ask("subscribe_instance", pk=ann.pk)

    assert (first["response_status"], second["response_status"]) == statuses
