"""The announcement, which can be dismissed."""

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
