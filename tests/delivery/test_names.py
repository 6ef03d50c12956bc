"""A signed name admits its bearer, for a time, and nobody else."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core import signing
from django.test import override_settings

from turbo.delivery.names import (
    SALT,
    SignedName,
    decode_args,
    encode_args,
    group_name,
    sign,
    stream_id,
    user_key,
    verify,
)
from turbo.exceptions import NameRefused


def refusal(signed: str) -> str:
    with pytest.raises(NameRefused) as caught:
        verify(signed)
    return caught.value.reason


def test_a_name_survives_signing() -> None:
    name = verify(sign("chat:RoomStream:1", since="@17.1f0c"))

    assert name == SignedName("chat:RoomStream:1", None, "@17.1f0c")


@pytest.mark.parametrize("payload", [["chat:RoomStream:1"], ["chat:RoomStream:1", "7"]])
def test_a_name_of_an_older_form_is_expired(payload: list[str]) -> None:
    """It was signed by us, so the page may fetch another: it is not forged."""
    assert refusal(signing.dumps(payload, salt=SALT)) == "expired"


def test_a_name_is_bound_to_the_user_it_was_signed_for() -> None:
    ada, grace = User(pk=1), User(pk=2)

    name = verify(sign("chat:RoomStream:1", user=ada))

    assert name.user == "1"
    assert name.is_for(ada)
    assert not name.is_for(grace)
    assert not name.is_for(AnonymousUser())
    assert not name.is_for(None)


def test_a_name_signed_for_nobody_admits_everybody() -> None:
    name = verify(sign("chat:RoomStream:1", user=AnonymousUser()))

    assert name.user is None
    assert name.is_for(User(pk=1))
    assert name.is_for(AnonymousUser())


@pytest.mark.parametrize(
    "signed",
    [
        "",
        "chat:RoomStream:1",
        "a:b:c",
        "::",
        "\ud800",
        "é:é:é",
        signing.dumps(["chat:RoomStream:1"]),
        signing.dumps(["chat:RoomStream:1"], salt="turbo.other"),
    ],
)
def test_a_name_signed_elsewhere_is_forged(signed: str) -> None:
    assert refusal(signed) == "forged"


def test_a_changed_name_is_forged() -> None:
    signed = sign("chat:RoomStream:1")

    assert refusal("x" + signed) == "forged"
    assert refusal(signed[:-1] + ("a" if signed[-1] != "a" else "b")) == "forged"


def test_a_name_expires() -> None:
    signed = sign("chat:RoomStream:1")

    with override_settings(TURBO={"SIGNED_NAME_MAX_AGE": -1}):
        assert refusal(signed) == "expired"


def test_a_group_name_fits_every_layer() -> None:
    name = "chat:RäumeStream:" + "x" * 400

    group = group_name(stream_id(name))

    assert re.fullmatch(r"[a-zA-Z0-9\-_.]{1,99}", group)
    assert group != group_name(stream_id(name + "x"))


def test_user_key_is_the_primary_key_of_who_is_logged_in() -> None:
    assert user_key(User(pk=7)) == "7"
    assert user_key(AnonymousUser()) is None
    assert user_key(None) is None


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((), {}),
        ((1, "a:b", None), {}),
        (([], {}), {}),
        (({"args": 1},), {}),
        ((), {"user": 3}),
        ((1,), {"b": 2, "a": 1}),
    ],
)
def test_arguments_survive_a_name(args: tuple, kwargs: dict) -> None:
    assert decode_args(encode_args(args, kwargs)) == (args, kwargs)
