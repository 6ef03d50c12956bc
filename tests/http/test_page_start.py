"""A page says where the streams stood before its view read anything."""

from __future__ import annotations

import re

import pytest
from django.core.signals import request_started
from django.http import HttpRequest
from django.test import AsyncClient, Client, RequestFactory

from tests.testapp.models import Room
from turbo.http.page_start import note_since, since_of
from turbo.replay import get_replay

pytestmark = pytest.mark.django_db(transaction=True)


def since(html: str) -> str:
    return re.findall(r'since="(.*?)"', html)[0]


def test_the_moment_is_noted_where_the_request_finds_it() -> None:
    environ: dict[str, str] = {}
    scope: dict[str, str] = {}

    note_since(environ=environ)
    note_since(scope=scope)
    note_since()

    assert environ["turbo.since"].startswith("@")
    assert scope["turbo.since"].startswith("@")


def test_a_request_that_django_did_not_start_has_none() -> None:
    assert since_of(None) == ""
    assert since_of(HttpRequest()) == ""
    assert since_of(RequestFactory().get("/")) == ""


def test_the_signal_is_connected() -> None:
    assert note_since in [receiver() for _, receiver, *_ in request_started.receivers]


async def test_a_page_is_born_before_its_view_waits() -> None:
    room = await Room.objects.acreate(name="Lobby")
    before = get_replay().moment()

    response = await AsyncClient().get(f"/rooms/{room.pk}/?wait=0.01")
    after = get_replay().moment()

    assert before <= since(response.content.decode()) <= after


def test_a_page_of_a_wsgi_server_is_born_too() -> None:
    room = Room.objects.create(name="Lobby")

    response = Client().get(f"/rooms/{room.pk}/")

    assert since(response.content.decode()).startswith("@")
