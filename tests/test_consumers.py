"""The socket: subscribing, hearing, and being refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import Client

import turbo
from tests.support.clients import Socket, cookies_of, signed_now
from tests.testapp.models import Message, Room
from tests.testapp.streams import Announcements
from turbo.delivery.names import sign

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@pytest.fixture
def room() -> Room:
    return Room.objects.create(name="Lobby")


async def test_a_saved_message_is_appended_replaced_and_removed(
    layer: str, room: Room
) -> None:
    async with Socket() as socket:
        answer = await socket.subscribe(room.stream.signed_stream_name)
        message = await Message.objects.acreate(room=room, text="<Hi>")
        pk = message.pk
        message.text = "Ho"
        await message.asave()
        await message.adelete()

        sent = await socket.messages(3)

    assert answer[0]["type"] == "subscribed"
    assert sent == [
        '<turbo-stream action="append" target="messages"><template>'
        f'<li id="message-{pk}">&lt;Hi&gt;</li>\n</template></turbo-stream>',
        f'<turbo-stream action="replace" target="message-{pk}"><template>'
        f'<li id="message-{pk}">Ho</li>\n</template></turbo-stream>',
        f'<turbo-stream action="remove" target="message-{pk}"></turbo-stream>',
    ]


async def test_what_was_missed_is_replayed_in_order_once(layer: str) -> None:
    stream = Announcements()
    signed = await signed_now(stream)
    async with Socket() as socket:
        (answer,) = await socket.subscribe(signed)
    stream.update(text="1", id="news")
    stream.update(text="2", id="news")
    await sync_to_async(turbo.flush)()

    async with Socket() as socket:
        (again,) = await socket.subscribe(signed, since=answer["position"])
        stream.update(text="3", id="news")
        sent = await socket.messages(3)
        silent = await socket.nothing()

    assert again["recovered"] is True
    assert [html.split("template>")[1][0] for html in sent] == ["1", "2", "3"]
    assert silent


async def test_all_sockets_of_a_process_hear_every_message_in_order(
    layer: str,
) -> None:
    stream = Announcements()

    async def listen() -> list[str]:
        async with Socket() as socket:
            await socket.subscribe(stream.signed_stream_name)
            ready.release()
            return await socket.messages(50)

    ready = asyncio.Semaphore(0)
    tasks = [asyncio.ensure_future(listen()) for _ in range(10)]
    for _ in tasks:
        await ready.acquire()
    for number in range(50):
        stream.update(text=str(number), id="news")
    heard = await asyncio.gather(*tasks)

    assert heard == [heard[0]] * 10
    assert [int(html.split(">")[2].split("<")[0]) for html in heard[0]] == list(
        range(50)
    )


async def test_a_user_outside_is_refused_and_told_so(room: Room) -> None:
    ada = await User.objects.acreate(username="ada")
    eve = await User.objects.acreate(username="eve")
    cellar = await Room.objects.acreate(name="Cellar", public=False)
    await cellar.members.aadd(ada)

    async with Socket(ada) as inside, Socket(eve) as outside:
        admitted = await inside.subscribe(cellar.stream.sign(ada))
        refused = await outside.subscribe(
            cellar.stream.sign(eve), room.stream.sign(eve), cellar.stream.sign(ada)
        )

    assert admitted[0]["type"] == "subscribed"
    assert [(a["type"], a.get("reason")) for a in refused] == [
        ("denied", "forbidden"),
        ("denied", "foreign"),
        ("subscribed", None),
    ]


async def test_it_finds_the_user_of_a_session_where_no_middleware_does(
    room: Room, client: Client
) -> None:
    ada = await User.objects.acreate(username="ada")
    signed = room.stream.sign(ada)
    await client.aforce_login(ada)

    async with Socket(headers=[cookies_of(client)]) as known, Socket() as stranger:
        admitted = await known.subscribe(signed)
        refused = await stranger.subscribe(signed)

    assert [answer["type"] for answer in admitted] == ["subscribed"]
    assert [answer["reason"] for answer in refused] == ["foreign"]


REFUSALS: list[tuple[Any, str]] = [
    ("not signed", "forged"),
    (sign("nobody:Knows"), "unknown"),
    (sign("testapp:RoomStream:99999"), "gone"),
    (sign("testapp:RoomStream:x"), "unknown"),
    (sign("testapp:Counter:[1,2,3]"), "unknown"),
]


@pytest.mark.parametrize(("signed", "reason"), REFUSALS, ids=range(len(REFUSALS)))
async def test_a_name_that_does_not_admit_is_denied_with_the_reason(
    signed: str, reason: str
) -> None:
    async with Socket() as socket:
        answer = await socket.subscribe(signed)
        good = await socket.subscribe(Announcements().signed_stream_name)

    assert answer == [{"type": "denied", "name": signed, "reason": reason}]
    assert good[0]["type"] == "subscribed"
