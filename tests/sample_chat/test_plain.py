"""The sample chat without JavaScript: every page is an ordinary page."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import expect

pytestmark = pytest.mark.browser

INLINE = re.compile(r"<style|\sstyle=|<script(?![^>]*\ssrc=)|\son[a-z]+=|javascript:")
PAGES = ["/", "/rooms/1/", "/rooms/3/", "/rooms/new/", "/board/", "/announcements/"]


async def test_stranger_is_sent_to_log_in(chat, new_page):
    page = await new_page(base_url=chat.url)

    await page.goto("/rooms/1/")

    assert page.url == f"{chat.url}/login/?next=/rooms/1/"


async def test_log_out(chat, log_in):
    page = await log_in(chat, "grace", java_script_enabled=False)

    await page.get_by_role("button", name="Log out").click()
    await page.goto("/")

    assert page.url == f"{chat.url}/login/?next=/"


async def test_message_create_edit_delete(chat, log_in):
    page = await log_in(chat, "ada", java_script_enabled=False)
    await page.goto("/rooms/2/")
    message = page.locator(".message").last

    await page.get_by_label("Message", exact=True).fill("Is there <b>tea</b>?")
    await page.get_by_role("button", name="Send").click()
    await expect(message).to_contain_text("Is there <b>tea</b>?")

    await message.get_by_role("link", name="Edit").click()
    await page.get_by_label("Message").fill("Is there milk?")
    await page.get_by_role("button", name="Save").click()
    await expect(page).to_have_url(re.compile(r"/rooms/2/#message-\d+$"))
    await expect(message).to_contain_text("Is there milk?")
    await expect(message).to_contain_text("edited")

    await message.get_by_role("link", name="Delete").click()
    await page.get_by_role("button", name="Delete").click()
    await expect(page).to_have_url(f"{chat.url}/rooms/2/")
    await expect(page.get_by_text("Is there milk?")).to_have_count(0)


async def test_message_of_another_user_cannot_be_changed(chat, log_in):
    page = await log_in(chat, "grace")

    answers = [
        await page.request.get(f"/messages/1/{action}/")
        for action in ("edit", "delete")
    ]

    assert [answer.status for answer in answers] == [404, 404]


async def test_new_room(chat, log_in):
    page = await log_in(chat, "ada", java_script_enabled=False)

    await page.get_by_label("Name").fill("Plain room")
    await page.get_by_role("button", name="Create room").click()

    await expect(page.get_by_role("heading", level=1)).to_have_text("Plain room")
    await expect(page.locator("#rooms")).to_contain_text("Plain room")


async def test_new_room_with_a_taken_name(chat, log_in):
    page = await log_in(chat, "ada", java_script_enabled=False)
    await page.get_by_label("Name").fill("Lobby")

    async with page.expect_response("**/rooms/new/") as answer:
        await page.get_by_role("button", name="Create room").click()

    assert (await answer.value).status == 422
    await expect(page.get_by_label("Name")).to_have_attribute("aria-invalid", "true")


async def test_members_only_room_shows_nothing_to_others(chat, log_in):
    page = await log_in(chat, "grace", java_script_enabled=False)

    await page.goto("/rooms/3/")
    members = await page.request.get("/rooms/3/members/")

    notice = page.get_by_text("You are not a member of this room.")
    await expect(notice.filter(visible=True)).to_have_count(1)
    assert "Only members of this room can read this." not in await page.content()
    assert members.status == 403


async def test_announcing_is_for_staff(chat, log_in):
    page = await log_in(chat, "grace")

    answer = await page.request.get("/announcements/")

    assert answer.status == 403


async def test_board_add_move_edit_delete(chat, log_in):
    page = await log_in(chat, "ada", java_script_enabled=False)
    await page.goto("/board/")
    card = page.locator(".card", has_text="Sharpen pencils")

    await page.get_by_label("Title").fill("Sharpen pencils")
    await page.get_by_role("button", name="Add").click()
    await card.get_by_role("button", name="Done").click()
    await expect(page.locator("#column-done")).to_contain_text("Sharpen pencils")

    await card.get_by_role("link", name="Edit").click()
    await page.get_by_role("button", name="Delete").click()
    await expect(card).to_have_count(0)


@pytest.mark.parametrize("path", PAGES)
async def test_policy_allows_nothing_inline(chat, log_in, path):
    page = await log_in(chat, "ada")

    answer = await page.request.get(path)

    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; style-src 'self' 'nonce-")
    assert "unsafe" not in policy
    assert INLINE.search(await answer.text()) is None
