"""The scoreboard of the sample chat, which follows a binding."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

pytestmark = pytest.mark.browser


async def drink(page: Page, cups: int = 1) -> None:
    button = page.get_by_role("button", name="I had a cup")
    for _ in range(cups):
        async with page.expect_request_finished(shows_the_scores):
            await button.click()


def shows_the_scores(request):
    """The end of the visit that a post redirects to."""
    return request.method == "GET" and request.url.endswith("/scores/")


async def test_every_cup_is_seen_by_all_in_order(chat, log_in):
    """The row of who has had more moves up, in every window."""
    ada, grace = await log_in(chat, "ada"), await log_in(chat, "grace")
    for page in (ada, grace):
        await page.goto("/scores/")
    rows = grace.get_by_role("list", name="Scores").get_by_role("listitem")

    await drink(ada)
    await expect(rows).to_have_text(["Ada: 1"])
    await drink(grace, 2)
    await expect(rows).to_have_text(["Grace: 2", "Ada: 1"])
    await drink(ada, 2)

    await expect(rows).to_have_text(["Ada: 3", "Grace: 2"])
    board = ada.get_by_role("list", name="Scores").get_by_role("listitem")
    await expect(board).to_have_text(["Ada: 3", "Grace: 2"])


async def test_a_restarted_server_is_found_again(own_chat, log_in):
    ada = await log_in(own_chat, "ada")
    await ada.goto("/scores/")
    rows = ada.get_by_role("list", name="Scores").get_by_role("listitem")
    await drink(ada)
    await expect(rows).to_have_text(["Ada: 1"])

    own_chat.kill()
    own_chat.start()
    grace = await log_in(own_chat, "grace")
    await grace.goto("/scores/")
    await drink(grace, 2)

    await expect(rows).to_have_text(["Grace: 2", "Ada: 1"])


def of_the_scores(socket):
    """Not the one that the page's streams come by."""
    return socket.url.endswith("/ws/scores/")


async def test_leaving_the_page_closes_its_socket(own_chat, log_in):
    ada = await log_in(own_chat, "ada")
    await ada.goto("/scores/")
    await drink(ada)
    async with ada.expect_websocket(of_the_scores) as opened:
        await ada.reload()
    scores = await opened.value
    rows = ada.get_by_role("list", name="Scores").get_by_role("listitem")
    await expect(rows.first).to_be_visible()

    async with scores.expect_event("close"):
        await ada.get_by_role("link", name="Rooms").first.click()

    await expect(ada.locator("score-board")).to_have_count(0)
