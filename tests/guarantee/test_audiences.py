"""Every page gets what its audience gets, and not a byte of what another gets."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User

from tests.guarantee.doors import log_in
from tests.support.clients import LivePage, signed_now
from tests.support.full import IS_FULL, with_redis_or_postgres
from tests.support.servers import PATIENCE
from tests.testapp.streams import Forum

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("same_layer")]

MESSAGES = 500 if IS_FULL else 80
ANN, BOB = User(pk=1, username="ann", is_staff=True), User(pk=2, username="bob")


class Page(LivePage):
    """A page that keeps all that came over its sockets."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.frames: list[str] = []

    async def _hear(self, frame: dict[str, Any], socket: Any) -> None:
        self.frames.append(json.dumps(frame))
        await super()._hear(frame, socket)


def both(n: int) -> tuple[str, str]:
    context = {"text": f"all-{n}", "note": f"secret-{n}"}
    Forum(1).append("testapp/post.html", context, id="posts")
    return f"all-{n}", f"all-{n} secret-{n}"


def moderator(n: int) -> tuple[str, str]:
    Forum(1).only("moderator").append(text=f"secret-{n}", id="reports")
    return "", f"secret-{n}"


def member(n: int) -> tuple[str, str]:
    Forum(1).only("member").append(text=f"hint-{n}", id="hints")
    return f"hint-{n}", ""


def plain(n: int) -> tuple[str, str]:
    Forum(1).append(text=f"all-{n}", id="posts")
    return f"all-{n}", f"all-{n}"


def text(html: str) -> str:
    inner = html.partition("<template>")[2].partition("</template>")[0]
    return inner.strip().removeprefix("<p>").removesuffix("</p>")


@with_redis_or_postgres
async def test_a_mixed_run_with_cuts_and_a_restart_is_right_for_each(
    layer: str, make_project: Callable[..., Any], daphne: Callable[..., Any]
) -> None:
    project = make_project(layer)
    project.shell(
        "from django.contrib.auth.models import User;"
        "User.objects.filter(username='ann').update(is_staff=True)"
    )
    server = await sync_to_async(daphne)(project)
    choose, expected = random.Random(17), []
    pages = [
        Page(
            server.ws_url,
            Forum(1).sign(user),
            additional_headers=await log_in(server, user.username),
        )
        for user in (BOB, ANN)
    ]
    async with pages[0], pages[1]:
        for n in range(MESSAGES):
            if n == MESSAGES // 2:
                await sync_to_async(server.stop)()
            expected.append(choose.choice([both, moderator, member, plain])(n))
            if n % 10 == 3:
                choose.choice(pages).cut()
            if n == MESSAGES // 2 + 20:
                await sync_to_async(server.start)()
            if not MESSAGES // 2 <= n <= MESSAGES // 2 + 20:
                for page in pages:  # none lags behind further than the history
                    await page.until(lambda p=page, n=n: len(p.data) > n - 50)
        for page in pages:
            await page.until(lambda p=page: len(p.data) >= MESSAGES)

    for page, wanted in zip(pages, zip(*expected, strict=True), strict=True):
        assert list(map(text, page.data)) == list(wanted)
        assert page.gaps + page.doubled == 0
        assert len(page.codes) > 1
    to_member, to_moderator = ("\n".join(page.frames) for page in pages)
    assert "secret" not in to_member
    assert "hint" not in to_moderator


async def until(response: httpx.Response, text: str) -> str:
    """Return all that an event stream sends until there is ``text``."""
    received = ""
    async for chunk in response.aiter_text():
        received += chunk
        if text in received:
            return received
    raise EOFError(received)


@pytest.mark.parametrize("layer", ["redis"])
async def test_a_former_moderator_gets_nothing_more_by_any_door(
    layer: str, make_project: Callable[..., Any], daphne: Callable[..., Any]
) -> None:
    """With what was open, with the old name and position, and over the other door."""
    server = await sync_to_async(daphne)(make_project(layer))
    headers = await log_in(server, "ann")
    async with httpx.AsyncClient(
        base_url=server.url, timeout=PATIENCE, headers=headers
    ) as http:
        await http.get("/forum/appoint/ann/1/")
        signed = await signed_now(Forum(1), ANN)
        events = {"stream": signed, "since": ""}
        page = Page(server.ws_url, signed, additional_headers=headers)
        async with page, http.stream("GET", "/turbo/sse/", params=events) as stream:
            both(1)
            await page.until(lambda: len(page.data) == 1)
            position = page._since[signed]
            assert "secret-1" in await until(stream, "all-1")

            await http.get("/forum/appoint/ann/0/")
            await page.until(lambda: page.gaps == 1)
            moderator(2)
            both(3)
            await page.until(lambda: len(page.data) == 3)
            page.cut()
            await page.until(lambda: page.subscribed == 2)
            both(4)
            await page.until(lambda: len(page.data) == 4)
        assert [text(data) for data in page.data[1:]] == ["", "all-3", "all-4"]
        assert page.gaps == 2

        for last_id in ("", position):
            sent = {"Last-Event-ID": last_id} if last_id else {}
            async with http.stream(
                "GET", "/turbo/sse/", params=events | {"since": position}, headers=sent
            ) as stream:
                both(5)
                received = await until(stream, "all-5")
            assert "secret" not in received
            assert 'action="refresh"' in received


@pytest.mark.parametrize("layer", ["redis"])
async def test_a_member_gets_nothing_with_the_name_of_a_moderator(
    layer: str, make_project: Callable[..., Any], daphne: Callable[..., Any]
) -> None:
    server = await sync_to_async(daphne)(make_project(layer))
    headers = await log_in(server, "bob")
    signed = await signed_now(Forum(1), ANN)
    async with httpx.AsyncClient(
        base_url=server.url, timeout=PATIENCE, headers=headers
    ) as http:
        answer = await http.get("/turbo/sse/", params={"stream": signed})
    async with Page(server.ws_url, signed, additional_headers=headers) as page:
        denied = page.denied

    assert (answer.status_code, answer.text) == (403, "foreign")
    assert denied == ["foreign"]
