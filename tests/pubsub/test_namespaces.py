"""Pub/sub of tenants: channels, messages, tokens, and what clients get."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import override_settings

import turbo
from tests.pubsub.conftest import project_settings
from tests.pubsub.serving import Subscriber
from tests.pubsub.shop.models import Topping
from tests.support.clients import Talk
from tests.support.servers import PATIENCE, Valkey
from tests.support.tenants import SETTINGS, at, tenant
from turbo.pubsub import make_token
from turbo.pubsub.consumers import PubSubConsumer
from turbo.pubsub.message import Announcement
from turbo.pubsub.tokens import authenticate

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@pytest.fixture(autouse=True)
def _tenants(valkey: Valkey) -> Iterator[None]:
    own = project_settings(valkey, ACCESS="anyone")
    own["TURBO"] |= SETTINGS
    with override_settings(**own):
        yield
        turbo.flush(PATIENCE)


def add(name: str, topping: str) -> int:
    with tenant(name):
        made = Topping.objects.create(name=topping)
    return int(made.pk)


def test_messages_and_channels_have_the_tenant(valkey: Valkey) -> None:
    """Who listens to one tenant, or to no tenant, hears of no other one."""
    with (
        Subscriber(valkey, "django@acme", "django@acme:shop-Topping:created") as ours,
        Subscriber(valkey, "django") as plain,
    ):
        add("globex", "Ham")
        pk = add("acme", "Ham")
        of_nobody = add("", "Ham")
        message = {
            "app": "shop",
            "model": "Topping",
            "action": "created",
            "pk": pk,
            "namespace": "acme",
        }

        assert ours.some(2) == [
            ("django@acme", message),
            ("django@acme:shop-Topping:created", message),
        ]
        channel, said = plain.next()
        assert (channel, said["pk"], "namespace" in said) == (
            "django",
            of_nobody,
            False,
        )


def test_a_message_for_the_server_has_the_tenant() -> None:
    item = Announcement(
        app="shop", model="Topping", action="saved", pk=7, namespace="acme"
    )

    assert Announcement.unpack(item.pack()) == item


async def test_clients_get_the_changes_of_their_tenant() -> None:
    application = PubSubConsumer.as_asgi()
    async with (
        Talk(application, "/", **at("acme")) as ours,
        Talk(application, "/", **at("globex")) as theirs,
    ):
        await asyncio.gather(*(_answered(each) for each in (ours, theirs)))
        not_ours = await sync_to_async(add)("globex", "Ham")
        pk = await sync_to_async(add)("acme", "Ham")

        assert (await ours.receive())["pk"] == pk
        assert (await theirs.receive())["pk"] == not_ours


async def _answered(client: Talk) -> None:
    await client.send(type="ping")
    while (await client.receive()) != {"type": "pong"}:
        pass


def test_a_token_is_valid_in_its_tenant() -> None:
    cook: Any = User.objects.create_user("cook")
    with tenant("acme"):
        token = make_token(cook)
        assert authenticate(token) == cook
    with tenant("globex"):
        assert authenticate(token) is None
    assert authenticate(token) is None
