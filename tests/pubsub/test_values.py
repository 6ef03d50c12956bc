"""Rows that travel, and the values that clients get."""

from __future__ import annotations

import datetime
import json
import uuid
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.db import models
from django.test import override_settings
from django.test.utils import isolate_apps

from tests.pubsub.serving import user
from tests.pubsub.shop.models import Crate, Pizza, Topping
from turbo.changes.rows import pk_value, read_row, write_row
from turbo.pubsub import make_token
from turbo.pubsub.access import greetings, may_connect, user_of_token
from turbo.pubsub.data import values_of
from turbo.pubsub.declarations import ListenableModelMixin
from turbo.pubsub.message import Announcement, to_json
from turbo.pubsub.protocol import Authenticate, Ping, receive
from turbo.pubsub.tokens import authenticate
from turbo.pubsub.watching import Listening

NOON = datetime.datetime(2026, 1, 2, 12, 0, 0, 123456, tzinfo=datetime.UTC)


def travelled(instance: Any, names: Any = None) -> Any:
    """Return the instance as it arrives."""
    model = type(instance)
    row = json.loads(to_json(write_row(instance, model, names)))
    return read_row(row, model, "default")


def test_a_row_arrives_as_it_was() -> None:
    """Every digit of it."""
    pizza = Pizza(pk=3, name="Napoli", price=Decimal("8.20"), baked=NOON, owner_id=9)

    arrived = travelled(pizza)

    assert (arrived.pk, arrived.name, arrived.owner_id) == (3, "Napoli", 9)
    assert (arrived.price, arrived.baked) == (Decimal("8.20"), NOON)
    assert not arrived._state.adding


def test_what_was_assigned_in_another_form_arrives() -> None:
    """An instance need not hold what the database made of it."""
    pizza = Pizza(pk="3", price="8.20", baked="2026-01-02T12:00:00+00:00")

    arrived = travelled(pizza)

    assert (arrived.pk, arrived.price) == (3, Decimal("8.20"))
    assert arrived.baked.hour == 12


def test_passwords_stay_at_home() -> None:
    """Unless they are asked for; so does what is not asked for."""
    crate = Crate(number=uuid.uuid4(), weight=3)

    assert set(write_row(crate, Crate)) == {"number", "weight"}
    assert set(write_row(crate, Crate, ["password"])) == {"number", "password"}
    assert travelled(crate, []).get_deferred_fields() == {"weight", "password"}


def test_a_key_is_of_the_type_of_its_field() -> None:
    number = uuid.uuid4()

    assert pk_value(Crate, str(number)) == number
    assert pk_value(Topping, "5") == 5


@pytest.mark.django_db
def test_values_by_name() -> None:
    """Keys stand for related objects; methods are called."""
    bob = user("bob")
    pizza = Pizza.objects.create(name="Napoli", owner=bob)
    topping = Topping.objects.create(name="Gouda")
    pizza.toppings.add(topping)

    names = ["pk", "name", "owner", "owner_id", "toppings", "__str__"]
    assert values_of(pizza, names) == {
        "pk": pizza.pk,
        "name": "Napoli",
        "owner": bob.pk,
        "owner_id": bob.pk,
        "toppings": [topping.pk],
        "__str__": f"Pizza object ({pizza.pk})",
    }
    assert values_of(topping, ["pizza_set"]) == {"pizza_set": [pizza.pk]}


def test_frames() -> None:
    """Those that make sense; the others are told of with a reason."""
    assert receive('{"type":"ping"}', limit=99) == Ping()
    frame = '{"type":"authenticate","token":"t"}'
    assert receive(frame, limit=99) == Authenticate("t")
    assert "t'" not in repr(receive(frame, limit=99))


@pytest.mark.django_db
def test_tokens() -> None:
    """Good for their user, for a while, and for as long as the password stays."""
    bob = user("bob")
    token = make_token(bob)

    assert authenticate(token) == bob
    assert authenticate(token[:-1]) is None
    with override_settings(TURBO={"PUBSUB": {"TOKEN_MAX_AGE": -1}}):
        assert authenticate(token) is None
    bob.set_password("changed")
    bob.save()
    assert authenticate(token) is None
    with pytest.raises(ValueError, match="who can log in"):
        make_token(AnonymousUser())


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("access", "let_in"),
    [
        ("anyone", ["nobody", "session", "bob", "cook", "boss"]),
        ("session", ["session", "bob", "cook", "boss"]),
        ("authenticated", ["bob", "cook", "boss"]),
        ("staff", ["cook", "boss"]),
        ("superuser", ["boss"]),
    ],
)
async def test_access(access: str, let_in: list[str]) -> None:
    """From everybody to hardly anybody; a session must be one that is kept."""
    session = SessionStore()
    await session.acreate()
    visitors = {
        "nobody": (AnonymousUser(), SessionStore("made-up")),
        "session": (AnonymousUser(), session),
        "bob": (_User(), None),
        "cook": (_User(is_staff=True), None),
        "boss": (_User(is_superuser=True), None),
    }

    with override_settings(TURBO={"PUBSUB": {"ACCESS": access}}):
        passed = [name for name, who in visitors.items() if await may_connect(*who)]

    assert passed == let_in


class _User:
    is_authenticated = True

    def __init__(self, *, is_staff: bool = False, is_superuser: bool = False) -> None:
        self.is_staff, self.is_superuser = is_staff, is_superuser


async def find_user(token: str) -> Any:
    if token == "broken":
        raise LookupError(token)
    return _User() if token == "good" else AnonymousUser()


async def test_tokens_of_another_kind(caplog: pytest.LogCaptureFixture) -> None:
    """The function may be asynchronous, fail, or find nobody."""
    path = f"{__name__}.find_user"
    with override_settings(TURBO={"PUBSUB": {"AUTHENTICATE": path}}):
        assert isinstance(await user_of_token("good", 1), _User)
        assert await user_of_token("bad", 1) is None
        assert await user_of_token("broken", 1) is None

    assert "A token could not be checked" in caplog.text


async def test_no_greetings_without_hello_messages() -> None:
    assert await greetings(AnonymousUser(), 1) == []


@isolate_apps("tests.pubsub.shop")
def test_a_key_arrives_with_all_its_digits() -> None:
    """Regression: the last three were cut off, and the row was never found."""

    class Baking(ListenableModelMixin, models.Model):
        at = models.DateTimeField(primary_key=True)

        class Meta:
            app_label = "shop"

    change: Any = SimpleNamespace(
        action="update", instance=Baking(at=NOON), pk=NOON, using="default"
    )
    told = Listening(Baking, Baking).announcement(change)
    assert told is not None

    arrived = Announcement.unpack(told.pack())

    assert arrived is not None
    assert pk_value(Baking, arrived.pk) == NOON
