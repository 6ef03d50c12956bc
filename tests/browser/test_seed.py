"""The seed case: what is saved anywhere appears in every window, and only that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.support.servers import PATIENCE

pytestmark = pytest.mark.browser


@pytest.fixture(params=["memory", "redis", "sqlite", "postgres"])
def site(
    request: pytest.FixtureRequest,
    make_project: Callable[..., Any],
    daphne: Callable[..., Any],
) -> tuple[Any, list[str]]:
    """A project and its servers: one with the in-memory layer, else two."""
    project = make_project(request.param)
    count = 1 if request.param == "memory" else 2
    return project, [daphne(project).url for _ in range(count)]


async def open_room(page: Page, url: str, *, user: str = "ann", room: int = 1) -> None:
    await page.goto(f"{url}/login/{user}/?next=/rooms/{room}/")
    await page.wait_for_selector(
        "turbo-channels-stream-source:is([connected], [denied])", state="attached"
    )


async def test_two_windows_show_what_is_saved_and_nothing_else(
    site: tuple[Any, list[str]], new_page: Callable[[], Awaitable[Page]]
) -> None:
    project, urls = site
    windows = [await new_page(), await new_page()]
    for window, url in zip(windows, [urls[0], urls[-1]], strict=True):
        await open_room(window, url)

    async with httpx.AsyncClient(base_url=urls[0], timeout=PATIENCE) as http:

        async def act(how: str, text: str) -> None:
            answer = await http.get(f"/rooms/1/act/{how}/", params={"text": text})
            assert answer.status_code == 200

        await act("rollback", "never")
        await act("savepoint", "never")
        await act("view", "by a view")
        await act("thread", "by a thread")
        await http.get("/rooms/1/say/?text=by an async view")
        shown = ["by a view", "by a thread", "by an async view"]
        if len(urls) == 2:
            code = (
                "from tests.testapp.models import Message\n"
                "Message.objects.create(room_id=1, text='by a shell')"
            )
            await asyncio.to_thread(project.shell, code)
            shown.append("by a shell")
        for window in windows:
            await expect(window.locator("#messages li")).to_have_text(shown)

        await act("edit", "by a view,changed")
        await act("delete", "by a thread")

    shown[:2] = ["changed"]
    for window in windows:
        await expect(window.locator("#messages li")).to_have_text(shown)


async def test_who_is_not_of_the_room_is_refused_and_told_so(
    site: tuple[Any, list[str]], new_page: Callable[[], Awaitable[Page]]
) -> None:
    _, urls = site
    inside, outside = await new_page(), await new_page()

    await open_room(inside, urls[0], user="ann", room=2)
    await open_room(outside, urls[-1], user="eve", room=2)
    async with httpx.AsyncClient(base_url=urls[0], timeout=PATIENCE) as http:
        await http.get("/rooms/2/act/view/?text=secret")

    await expect(inside.locator("#messages li")).to_have_text(["secret"])
    source = outside.locator("turbo-channels-stream-source")
    await expect(source).to_have_attribute("denied", "forbidden")
    await expect(outside.locator("#messages li")).to_have_count(0)
