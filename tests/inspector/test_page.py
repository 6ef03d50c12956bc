"""The inspector's page: what it shows, to whom, and to whom not."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.test import Client

from tests.support.clients import Socket
from tests.testapp.models import Room
from turbo.inspector.history import InspectorHistory

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/__turbo__/"


def test_streams_with_model_and_permission(staff: Client, developing: Any) -> None:
    page = staff.get(PAGE)

    assert page.status_code == 200
    assert {
        "label": "testapp:RoomStream",
        "model": "testapp.Room",
        "audiences": "",
        "permission": "tested",
        "subscribers": 0,
    } in page.context["streams"]


def test_html_of_broadcasts_is_shown_as_text(
    staff: Client, developing: Any, opened: InspectorHistory
) -> None:
    Room.objects.create(name="Attic").stream.append(html="<b>Hi</b>", id="list")

    page = staff.get(PAGE)

    assert "&lt;template&gt;&lt;b&gt;Hi&lt;/b&gt;&lt;/template&gt;" in page.text
    assert "<b>Hi</b>" not in page.text


async def test_subscribers_and_refusals(
    staff: Client, developing: Any, opened: InspectorHistory
) -> None:
    room = await Room.objects.acreate(name="Attic")
    cellar = await Room.objects.acreate(name="Cellar", public=False)

    async with Socket() as socket:
        names = [item.stream.signed_stream_name for item in (room, cellar)]
        await socket.subscribe(*names)
        page = await sync_to_async(staff.get)(PAGE)

    subscribed = dict(page.context["subscribed"])
    assert subscribed[room.stream.stream_name] == 1
    [row] = [r for r in page.context["streams"] if r["label"] == "testapp:RoomStream"]
    assert row["subscribers"] == 1
    [incident] = page.context["incidents"]
    assert (incident["kind"], incident["stream"], incident["why"]) == (
        "refused",
        cellar.stream.stream_name,
        "forbidden",
    )


def test_page_keeps_itself_up_to_date(staff: Client, developing: Any) -> None:
    page = staff.get(PAGE)

    assert page.text.count("<turbo-channels-stream-source ") == 1
    assert 'name="turbo-refresh-method" content="morph"' in page.text
    assert "no-store" in page["Cache-Control"]


def test_nothing_is_inline(staff: Client, developing: Any) -> None:
    page = staff.get(PAGE).text

    assert "<style" not in page
    assert " style=" not in page
    assert page.count("<script") == page.count('<script type="module" src=')


def test_without_debug_there_is_no_page(staff: Client) -> None:
    assert settings.DEBUG is False
    assert staff.get(PAGE).status_code == 404


def test_others_than_staff_find_nothing(
    client: Client, developing: Any, django_user_model: Any
) -> None:
    anonymous = client.get(PAGE).status_code
    client.force_login(django_user_model.objects.create_user("grace"))

    assert (anonymous, client.get(PAGE).status_code) == (404, 404)


def test_an_internal_address_needs_no_login(client: Client, developing: Any) -> None:
    developing.INTERNAL_IPS = ["127.0.0.1"]

    assert client.get(PAGE).status_code == 200


def test_page_is_only_read(staff: Client, developing: Any) -> None:
    assert staff.post(PAGE).status_code == 405
