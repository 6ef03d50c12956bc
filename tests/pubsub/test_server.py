"""What clients of ``manage.py pubsub_server`` are told: a real process and sockets."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction

from benchmarks.sockets import Crowd, Handshake
from tests.pubsub.serving import (
    PubSubServer,
    Socket,
    log_in,
    session_of,
    socket,
    user,
)
from tests.pubsub.shop.models import Crate, Pizza, Topping
from tests.support.listening import rolled_back
from tests.support.servers import PATIENCE, Valkey

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


def told(model: str, action: str, pk: Any, /, **data: Any) -> dict[str, Any]:
    return {"model": f"shop.{model}", "action": action, "pk": pk, "data": data}


@pytest.fixture
def client(server: PubSubServer) -> Iterator[Socket]:
    """Somebody who is not logged in, and has been greeted."""
    with socket(server) as client:
        assert client.next() == {"hello": ""}
        yield client


def test_created_saved_deleted(client: Socket) -> None:
    """Each with the fields that the model names."""
    topping = Topping.objects.create(name="Gouda")
    pk = topping.pk
    assert client.next() == told("Topping", "created", pk, pk=pk, name="Gouda")

    topping.name = "Edam"
    topping.save()
    assert client.next() == told("Topping", "saved", pk, pk=pk, name="Edam")

    topping.delete()
    assert client.next() == told("Topping", "deleted", pk, pk=pk, name="Edam")


def test_rolled_back_work_is_not_told(client: Socket) -> None:
    with rolled_back():
        Topping.objects.create(name="never")
    kept = Topping.objects.create(name="kept")

    assert client.next()["pk"] == kept.pk
    assert client.nothing()


def test_what_was_created_and_deleted_since_is_told_as_deleted(client: Socket) -> None:
    """Whether the server was in time to read it or not, the delete comes last."""
    topping = Topping.objects.create(name="Gouda")
    pk = topping.pk
    topping.delete()

    actions = [client.next()["action"]]
    while actions[-1] != "deleted":
        actions.append(client.next()["action"])
    assert actions in (["deleted"], ["created", "deleted"])
    assert pk


def test_order_is_that_of_the_commits(client: Socket) -> None:
    toppings = [Topping.objects.create(name=str(n)) for n in range(150)]

    assert [client.next()["pk"] for _ in toppings] == [t.pk for t in toppings]


def test_has_access_refuses(server: PubSubServer, client: Socket) -> None:
    """The same change is told to those who may see it, deletes included."""
    staff = log_in(user("cook", is_staff=True))
    with socket(server, session=session_of(staff)) as cook:
        assert cook.next() == {"hello": "cook"}
        secret = Topping.objects.create(name="MSG", secret=True)
        pk = secret.pk
        assert cook.next() == told("Topping", "created", pk, pk=pk, name="MSG")
        secret.save()
        assert cook.next() == told("Topping", "saved", pk, pk=pk, name="MSG")
        secret.delete()
        assert cook.next() == told("Topping", "deleted", pk, pk=pk, name="MSG")
        public = Topping.objects.create(name="Gouda")

        assert cook.next()["pk"] == public.pk
        assert client.next()["pk"] == public.pk


def test_a_serializer_makes_the_data(server: PubSubServer) -> None:
    """One of Django REST framework; the owner alone is told."""
    bob, eve = user("bob"), user("eve")
    first, second = session_of(log_in(bob)), session_of(log_in(eve))
    with (
        socket(server, session=first) as of_bob,
        socket(server, session=second) as of_eve,
    ):
        assert of_bob.next() == {"hello": "bob"}
        assert of_eve.next() == {"hello": "eve"}
        with transaction.atomic():
            pizza = Pizza.objects.create(name="Margherita", owner=bob)
            topping = Topping.objects.create(name="Gouda")
            pizza.toppings.add(topping)

        data = {"id": pizza.pk, "name": "Margherita", "price": "7.50"}
        data["toppings"] = [topping.pk]
        assert of_bob.next() == told("Pizza", "created", pizza.pk, **data)
        assert of_eve.next()["model"] == "shop.Topping"


def test_related_rows_of_a_deleted_one_are_still_reached(server: PubSubServer) -> None:
    """The key of the owner travels with the delete."""
    bob = user("bob")
    pizza = Pizza.objects.create(name="Margherita", owner=bob)
    pk = pizza.pk
    with socket(server, session=session_of(log_in(bob))) as of_bob:
        of_bob.next()
        pizza.delete()

        message = of_bob.next()

    assert (message["action"], message["pk"]) == ("deleted", pk)
    assert message["data"]["name"] == "Margherita"


def test_an_external_model(client: Socket) -> None:
    """Its config says what is told, and to whom."""
    heavy = Crate.objects.create(number=uuid.uuid4(), weight=500)
    light = Crate.objects.create(number=uuid.uuid4(), weight=5)
    pk = str(light.pk)
    light.delete()
    heavy.delete()

    messages = [client.next()]
    if messages[0]["action"] == "created":
        messages.append(client.next())
    assert messages[-1] == told("Crate", "deleted", pk, pk=pk, weight=5)
    assert client.nothing()


def test_another_database_is_read(client: Socket) -> None:
    topping = Topping(name="Elsewhere")
    topping.save(using="other")

    pk = topping.pk
    assert client.next() == told("Topping", "created", pk, pk=pk, name="Elsewhere")


def test_one_subscription_serves_all_sockets(
    server: PubSubServer, client: Socket, valkey: Valkey
) -> None:
    with socket(server) as second, socket(server) as third:
        assert [second.next(), third.next()] == [{"hello": ""}] * 2
        with valkey.client() as redis:
            [(_, count)] = redis.pubsub_numsub("turbo:pubsub")

    assert count == 1


def test_200_sockets_hear_of_each_commit_once(server: PubSubServer) -> None:
    handshake = Handshake(path="/", frames=(('{"type":"ping"}', '"pong"'),))
    names = [f"{'x' * 200} {number}" for number in range(30)]
    with Crowd(server.port, handshake) as crowd:
        crowd.connect(200)
        for name in names:
            Topping.objects.create(name=name)
        crowd.pump_until(lambda: crowd.fewest() >= len(names), timeout=PATIENCE)

        assert crowd.counts() == [len(names)] * 200


SAVED = {"app": "shop", "model": "Topping", "action": "saved", "pk": 1, "row": None}
NONSENSE = [
    "",
    "[]",
    "[1]",
    "[" * 100_000,
    '{"pk":1}',
    *map(
        json.dumps,
        [
            {**SAVED, "model": "No", "using": "default"},
            {**SAVED, "using": "nowhere"},
            {**SAVED, "using": 5},
            {**SAVED, "using": "default", "pk": "one"},
            {**SAVED, "using": "default", "pk": {"a": 1}},
            {**SAVED, "using": "default", "action": "merged"},
            {**SAVED, "using": "default", "row": "none"},
        ],
    ),
]


def test_nonsense_on_the_channel_tells_nobody_anything(
    client: Socket, valkey: Valkey
) -> None:
    with valkey.client() as redis:
        for text in NONSENSE:
            redis.publish("turbo:pubsub", text)
    topping = Topping.objects.create(name="Gouda")

    assert client.next()["pk"] == topping.pk


def test_a_key_of_a_later_version_is_passed_over(
    client: Socket, valkey: Valkey
) -> None:
    topping = Topping.objects.create(name="Gouda")
    assert client.next()["action"] == "created"
    told = {**SAVED, "using": "default", "pk": topping.pk, "new": 5}

    with valkey.client() as redis:
        redis.publish("turbo:pubsub", json.dumps(told))

    assert client.next()["action"] == "saved"
