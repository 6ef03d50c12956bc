"""What the pages say by themselves: announcements, and that one is logged out."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.sample_chat.test_live import live

pytestmark = pytest.mark.browser


async def announce(page: Page, text: str) -> None:
    await page.get_by_label("Announcement").fill(text)
    await page.get_by_role("button", name="Announce", exact=True).click()
    await expect(page.locator(".announcement")).to_contain_text(text)


async def test_a_dismissed_announcement_stays_away_until_the_next(
    own_chat: Any, log_in: Any
) -> None:
    ada, grace = await log_in(own_chat, "ada"), await log_in(own_chat, "grace")
    await live(ada, "/announcements/")
    await live(grace, "/rooms/1/")
    note = grace.get_by_role("status").filter(has_text="Announcement")
    await announce(ada, "There is cake")
    await expect(note).to_contain_text("There is cake")

    await grace.get_by_role("button", name="Dismiss this note").click()
    await expect(note).to_be_hidden()
    await expect(grace.locator("main")).to_be_focused()
    await grace.get_by_role("link", name="Board", exact=True).click()
    await expect(grace.get_by_role("heading", level=1)).to_have_text("Team board")
    await expect(note).to_be_hidden()
    await announce(ada, "The cake is gone")

    await expect(note).to_contain_text("The cake is gone")


async def test_log_out_in_another_tab_hides_what_is_shown(
    chat: Any, log_in: Any
) -> None:
    ada = await log_in(chat, "ada")
    await live(ada, "/rooms/1/")
    other = await ada.context.new_page()
    await other.goto("/board/")

    await other.get_by_role("button", name="Log out").click()

    alert = ada.get_by_role("alert")
    await expect(alert).to_contain_text("You are logged out")
    await expect(ada.get_by_role("heading", level=1)).to_have_count(1)
    await expect(ada.locator(".message, .room-link, .announcement")).to_have_count(0)
    await alert.get_by_role("link", name="Log in").click()
    await ada.get_by_label("Username").fill("ada")
    await ada.get_by_label("Password").fill("ada")
    await ada.get_by_role("button", name="Log in").click()
    await expect(ada.get_by_role("heading", level=1)).to_have_text("Lobby")
