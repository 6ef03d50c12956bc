"""One stream in two browsers: each shows what is for its user, and follows a change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from playwright.async_api import Page, expect

from tests.support.servers import PATIENCE
from turbo.testing import await_for_streams

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("transport", ["websocket", "sse"])
async def test_each_browser_shows_what_its_user_may_see_also_after_a_change(
    transport: str,
    make_project: Callable[..., Any],
    daphne: Callable[..., Any],
    new_page: Callable[[], Awaitable[Page]],
) -> None:
    server = daphne(make_project("redis"))
    async with httpx.AsyncClient(
        base_url=f"{server.url}/forum", timeout=PATIENCE
    ) as http:
        await http.get("/appoint/ann/1/")
        ann, bob = await new_page(), await new_page()
        received: list[str] = []
        bob.on(
            "websocket",
            lambda ws: ws.on("framereceived", lambda data: received.append(str(data))),
        )
        for page, user in ((ann, "ann"), (bob, "bob")):
            next_page = f"/forum/%3Ftransport={transport}"
            await page.goto(f"{server.url}/login/{user}/?next={next_page}")
            await await_for_streams(page, timeout=PATIENCE)

        await http.get("/say/", params={"text": "one"})
        await expect(ann.locator("p")).to_have_text(["one Delete", "report of one"])
        await expect(bob.locator("p")).to_have_text(["one"])

        await http.get("/appoint/ann/0/")
        await expect(ann.locator("h1")).to_have_text("For members")
        await await_for_streams(ann, timeout=PATIENCE)
        await http.get("/say/", params={"text": "two"})
        await expect(bob.locator("p")).to_have_text(["one", "two"])
        await expect(ann.locator("p").last).to_have_text("two")

    assert not any("Delete" in data or "report" in data for data in received)
