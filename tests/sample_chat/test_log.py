"""The messages of a room: older ones, days, where one left off, and what is below."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.sample_chat.test_live import live, new_room, send

pytestmark = pytest.mark.browser

WEATHER = "/rooms/4/"  # 120 messages, one an hour


async def scroll(page: Page, top: int) -> None:
    """Scroll the messages: 0 is the end, a negative number is above it."""
    await page.locator(".log").evaluate("(log, top) => log.scrollTo(0, top)", top)


async def hide(page: Page, *, is_hidden: bool) -> None:
    """Tell the page that its tab went to the background, or came back."""
    await page.evaluate(
        """(isHidden) => {
            Object.defineProperty(document, "hidden", {
                value: isHidden, configurable: true,
            })
            document.dispatchEvent(new Event("visibilitychange"))
        }""",
        is_hidden,
    )


async def test_older_messages_come_when_one_scrolls_up(chat: Any, log_in: Any) -> None:
    """And what one was reading stays where it was, so no more come by themselves."""
    ada = await log_in(chat, "ada")
    await live(ada, WEATHER)
    messages = ada.locator("chat-message")
    await expect(messages).to_have_count(50)
    oldest = await ada.locator("turbo-frame[datetime]").first.get_attribute("id")

    await scroll(ada, -100_000)
    await expect(messages).to_have_count(100)
    await expect(ada.locator(f"#{oldest}")).to_be_in_viewport()
    await scroll(ada, -100_000)
    await expect(messages).to_have_count(120)

    ids = await ada.locator("turbo-frame[datetime]").evaluate_all(
        "frames => frames.map(({ id }) => Number(id.replace('message-', '')))"
    )
    assert ids == sorted(ids)


async def test_older_messages_without_javascript(chat: Any, log_in: Any) -> None:
    ada = await log_in(chat, "ada", java_script_enabled=False)
    await ada.goto(WEATHER)

    await ada.get_by_role("link", name="Show older messages").click()
    await ada.get_by_role("link", name="Show older messages").click()

    heading = ada.get_by_role("heading", level=1)
    await expect(heading).to_have_text("Older messages in Weather log")
    await expect(ada.locator("chat-message")).to_have_count(20)


async def test_older_messages_are_for_members_only(chat: Any, log_in: Any) -> None:
    grace = await log_in(chat, "grace")

    answer = await grace.request.get("/rooms/3/before/1000/")

    assert answer.status == 403


async def test_a_line_for_each_day(chat: Any, log_in: Any) -> None:
    ada = await log_in(chat, "ada", timezone_id="UTC")
    await live(ada, WEATHER)
    await scroll(ada, -100_000)

    await ada.wait_for_function(
        """() => {
            const frames = [...document.querySelectorAll("turbo-frame[datetime]")]
            const day = (frame) => frame.getAttribute("datetime").slice(0, 10)
            const days = new Set(frames.map(day))
            const lines = document.querySelectorAll(".day")
            return frames.length > 50 && lines.length === days.size
        }"""
    )


async def test_a_deleted_message_hands_its_day_to_the_next(
    chat: Any, log_in: Any
) -> None:
    ada = await log_in(chat, "ada")
    await live(ada, await new_room(ada, "One day"))
    await send(ada, "first")
    await send(ada, "second")
    second = ada.locator("turbo-frame[datetime]", has_text="second")
    await expect(second).to_be_visible()
    await expect(second.locator(".day")).to_have_count(0)

    first = ada.locator("chat-message", has_text="first")
    await first.get_by_role("link", name="Delete").click()
    await ada.get_by_role("button", name="Delete").click()

    await expect(second.locator(".day")).to_have_count(1)
    await expect(ada.locator(".day")).to_have_count(1)


async def test_a_line_where_one_left_off(chat: Any, log_in: Any) -> None:
    ada, grace = await log_in(chat, "ada"), await log_in(chat, "grace")
    room = await new_room(ada, "Left off")
    await live(grace, room)
    await live(ada, room)
    unread = grace.locator("turbo-frame:has(> .unread)")
    await send(ada, "seen")
    await expect(grace.locator("chat-message")).to_contain_text("seen")
    await expect(unread).to_have_count(0)

    await hide(grace, is_hidden=True)
    await send(ada, "while the tab was hidden")
    await send(ada, "and one more")
    await expect(unread).to_contain_text("while the tab was hidden")
    await hide(grace, is_hidden=False)
    await expect(unread).to_contain_text("while the tab was hidden")

    await grace.goto("/board/")
    await send(ada, "while Grace was at the board")
    await expect(ada.locator("chat-message").nth(3)).to_be_visible()
    await live(grace, room)
    await expect(unread).to_contain_text("New since you were here")
    await expect(unread).to_contain_text("while Grace was at the board")


async def test_new_messages_below(chat: Any, log_in: Any) -> None:
    small = {"width": 360, "height": 400}
    ada, grace = await log_in(chat, "ada"), await log_in(chat, "grace", viewport=small)
    await live(ada, "/rooms/1/")
    await live(grace, "/rooms/1/")
    below = grace.get_by_role("button", name="New messages below")
    await scroll(grace, -100)
    await expect(below).to_be_hidden()
    read = grace.locator("#message-4")
    top = await read.evaluate("message => message.getBoundingClientRect().top")

    await send(ada, "The sun is out")
    await expect(below).to_be_visible()
    moved = await read.evaluate("message => message.getBoundingClientRect().top")
    assert abs(moved - top) < 2  # what is being read stays where it is
    await below.click()

    await expect(grace.locator("chat-message").last).to_be_in_viewport()
    await expect(below).to_be_hidden()
    await expect(grace.locator(".log")).to_be_focused()
