"""Signals that pages pass on to each other, through the server."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from html import unescape
from typing import Any

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test import override_settings

import turbo
from tests.support.clients import Socket
from tests.support.servers import PATIENCE
from tests.testapp.streams import Announcements, Cafe
from turbo.connections.whispers import _waiting
from turbo.replay import get_replay

pytestmark = pytest.mark.django_db(transaction=True)

ROOM = Cafe(1)


@pytest.fixture
def ann() -> User:
    return User.objects.create(username="ann")


@pytest.fixture
def bob() -> User:
    return User.objects.create(username="bob")


class Visitor(Socket):
    """A page of one user that shows the cafe."""

    def __init__(self, user: Any) -> None:
        super().__init__(user)
        self.name = ROOM.sign(user)
        self._heard: list[str] = []

    async def whisper(self, name: Any = "typing", data: Any = None) -> None:
        frame = {"type": "whisper", "name": self.name, "whisper": name, "data": data}
        await self.send(**frame)

    async def reason(self) -> str:
        """Return the reason of an error."""
        frame = await self.receive()
        assert frame["type"] == "error", frame
        return str(frame["reason"])

    async def heard(self) -> dict[str, str]:
        """Return the attributes of the next whisper; a frame may hold several."""
        if not self._heard:
            [data] = await self.messages()
            assert data.endswith("></turbo-stream>")
            self._heard = data.split("</turbo-stream>")[:-1]
        pairs = re.findall(r' ([\w-]+)="([^"]*)"', self._heard.pop(0))
        return {name: unescape(value) for name, value in pairs}


@pytest_asyncio.fixture
async def pages(ann: User, bob: User) -> AsyncIterator[list[Visitor]]:
    """Two pages of ann and one of bob, which show the cafe."""
    async with AsyncExitStack() as stack:
        found = [
            await stack.enter_async_context(Visitor(user)) for user in (ann, ann, bob)
        ]
        for page in found:
            [answer] = await page.subscribe(page.name)
            assert answer["type"] == "subscribed"
        yield found


async def test_a_whisper_reaches_all_pages_but_its_own(pages: list[Visitor]) -> None:
    """The server says whose it is; that one's other pages get it, too."""
    first, second, other = pages

    await first.whisper(data={"draft": 'a "b" <c>'})
    heard = [await second.heard(), await other.heard()]
    await other.whisper(data=[1])

    expected = {"action": "whisper", "stream": ROOM.stream_id, "name": "typing"}
    data = '{"draft":"a \\"b\\" <c>"}'
    ann = first.communicator.scope["user"]
    assert heard == [expected | {"user": str(ann.pk), "data": data}] * 2
    assert (await first.heard())["data"] == "[1]"


async def test_whispers_that_follow_closely_come_together(
    pages: list[Visitor],
) -> None:
    """Even then nobody gets what is their own."""
    first, second, other = pages
    for number in range(3):
        await first.whisper(data=number)
        await other.whisper(data=f"other {number}")

    own = [json.loads((await first.heard())["data"]) for _ in range(3)]
    others = [json.loads((await other.heard())["data"]) for _ in range(3)]
    both = [json.loads((await second.heard())["data"]) for _ in range(6)]

    assert own == ["other 0", "other 1", "other 2"]
    assert others == [0, 1, 2]
    assert sorted(map(str, both)) == sorted(map(str, own + others))


async def test_the_next_whisper_after_a_while_goes_at_once(
    pages: list[Visitor],
) -> None:
    """Nothing is left behind that would wait for it."""
    await pages[0].whisper(data=1)
    await pages[2].heard()
    async with asyncio.timeout(PATIENCE):
        while _waiting.get()._waiting is not None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    await pages[0].whisper(data=2)
    assert (await pages[2].heard())["data"] == "2"


async def test_a_whisper_has_no_number_and_is_not_stored(pages: list[Visitor]) -> None:
    before = await get_replay().tips([ROOM.stream_id])

    await pages[0].whisper()
    await pages[2].heard()

    assert await get_replay().tips([ROOM.stream_id]) == before


async def test_nobody_chooses_whose_whisper_it_is(pages: list[Visitor]) -> None:
    await pages[0].send(
        type="whisper",
        name=pages[0].name,
        whisper="typing",
        user="1000",
        stream="other",
        data={"user": "1000"},
    )

    heard = await pages[2].heard()
    assert heard["user"] == str(pages[0].communicator.scope["user"].pk)
    assert heard["stream"] == ROOM.stream_id


async def test_a_hook_may_refuse(pages: list[Visitor]) -> None:
    await pages[2].whisper("secret")
    await pages[0].whisper("secret", 7)

    assert await pages[2].reason() == "refused"
    assert (await pages[1].heard())["data"] == "7"


async def test_a_hook_that_fails_refuses(
    pages: list[Visitor], caplog: pytest.LogCaptureFixture
) -> None:
    await pages[0].whisper("broken")

    assert await pages[0].reason() == "refused"
    assert "Cafe.on_whisper() failed; the whisper is refused." in caplog.text


BAD = [
    ({"whisper": "unknown"}, "unknown_whisper"),
    ({"whisper": "typ"}, "unknown_whisper"),
    ({"whisper": 7}, "invalid"),
    ({"whisper": None}, "invalid"),
    ({"data": "x" * 1_023}, "too_large"),
    ({"data": "ä" * 512}, "too_large"),
    ({"data": [[]] * 600}, "too_large"),
    ({"name": "forged"}, "not_subscribed"),
    ({"name": 7}, "invalid"),
]


@pytest.mark.parametrize(("wrong", "reason"), BAD)
async def test_a_wrong_whisper_gets_an_answer(
    pages: list[Visitor], wrong: dict[str, Any], reason: str
) -> None:
    """And the good subscriptions live on."""
    page = pages[2]
    frame = {"type": "whisper", "name": page.name, "whisper": "typing", "data": 1}
    await page.send(**(frame | wrong))

    assert await page.reason() == reason
    await page.whisper(data="x" * 1_022)
    assert (await pages[0].heard())["data"] == json.dumps("x" * 1_022)


async def test_nested_data_of_any_depth_get_an_answer(pages: list[Visitor]) -> None:
    page = pages[2]
    for depth in (300, 900, 5_000, 30_000):
        nested = "[" * depth + "]" * depth
        start = json.dumps({"type": "whisper", "name": page.name, "whisper": "typing"})
        await page.send_text(f'{start[:-1]},"data":{nested}}}')

    reasons = [await page.reason() for _ in range(3)]  # the first one is short
    assert set(reasons) <= {"too_large", "invalid", "malformed"}


async def test_lone_surrogates_become_something_that_a_socket_can_send(
    pages: list[Visitor],
) -> None:
    await pages[0].send_text(
        f'{{"type":"whisper","name":"{pages[0].name}","whisper":"typing",'
        f'"data":"\\ud800"}}'
    )

    assert (await pages[2].heard())["data"] == '"?"'


async def test_a_stream_without_whispers_takes_none(ann: User) -> None:
    name = Announcements().sign(ann)
    async with Socket(ann) as socket:
        await socket.subscribe(name)
        await socket.send(type="whisper", name=name, whisper="typing", data=None)
        answer = await socket.receive()

    assert answer["reason"] == "unknown_whisper"


async def test_a_revoked_page_does_not_whisper(pages: list[Visitor], bob: User) -> None:
    page = pages[2]

    await sync_to_async(turbo.revoke)(user=bob, stream=ROOM)
    assert (await page.receive())["type"] == "denied"
    await page.whisper()

    assert await page.reason() == "not_subscribed"


async def test_too_many_whispers_are_refused(ann: User, bob: User) -> None:
    """The limit is that of the user, whose further whispers are not passed on."""
    with override_settings(TURBO={"USER_LIMITS": {"WHISPERS": 3}}):
        async with Visitor(bob) as page, Visitor(ann) as other:
            await page.subscribe(page.name)
            await other.subscribe(other.name)
            for number in range(5):
                await page.whisper(data=number)

            assert [(await other.heard())["data"] for _ in range(3)] == ["0", "1", "2"]
            assert [await page.reason() for _ in range(2)] == ["limit", "limit"]


async def test_an_application_cannot_mark_its_messages(pages: list[Visitor]) -> None:
    """What looks like a whisper of the hub is a text like any other."""
    page = pages[2]
    await sync_to_async(ROOM.stream_raw)('\x02["whisper",["",""]]')

    [data] = await page.messages()
    assert data == '\ufffd["whisper",["",""]]'
