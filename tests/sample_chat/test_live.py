"""The sample chat in two windows."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Locator, Page, expect

from tests.sample_chat.conftest import manage

pytestmark = pytest.mark.browser


async def new_room(page: Page, name: str) -> str:
    """Open a room; return its path."""
    await page.goto("/rooms/new/")
    await page.get_by_label("Name").fill(name)
    await page.get_by_role("button", name="Create room").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(name)
    return page.url


def status(page: Page) -> Locator:
    """What the badge at the top says."""
    return page.locator("turbo-channels-status [part=text]")


async def live(page: Page, path: str) -> None:
    """Go to a page and wait until it is connected."""
    await page.goto(path)
    await expect(status(page)).to_have_text("Live")


def message_field(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Message")


async def send(page: Page, text: str) -> None:
    """Say something: shown at once, and as a <chat-message> once it is sent."""
    await message_field(page).fill(text)
    await message_field(page).press("Enter")


async def test_message_reaches_both_windows(chat, log_in):
    ada = await log_in(chat, "ada")
    grace = await log_in(chat, "grace")
    room = await new_room(ada, "Two windows")
    await live(ada, room)
    await live(grace, room)
    message = [page.locator("chat-message") for page in (ada, grace)]

    await send(ada, "Hello, Grace")
    for shown in message:
        await expect(shown).to_contain_text("Hello, Grace")
    await expect(message[0].get_by_role("link", name="Edit")).to_be_visible()
    await expect(message[1].get_by_role("link", name="Edit")).to_be_hidden()

    await message[0].get_by_role("link", name="Edit").click()
    await ada.locator("turbo-frame textarea").fill("Hello again")
    await ada.get_by_role("button", name="Save").click()
    for shown in message:
        await expect(shown).to_contain_text("Hello again")
        await expect(shown).to_contain_text("edited")

    await message[0].get_by_role("link", name="Delete").click()
    await ada.get_by_role("button", name="Delete").click()
    for shown in message:
        await expect(shown).to_have_count(0)


async def test_two_processes_and_a_shell(pair, valkey, demo, log_in):
    ada = await log_in(pair[0], "ada")
    grace = await log_in(pair[1], "grace")
    await live(ada, "/rooms/2/")
    await live(grace, "/rooms/2/")

    await send(ada, "From the first process")
    await expect(grace.locator("chat-message").last).to_contain_text(
        "the first process"
    )
    code = "from chat.models import Message; message = Message.objects.get(pk=5); "
    code += "message.pk, message.text = None, 'From a shell'; message.save()"
    manage(demo, "shell", "--no-imports", "-c", code, REDIS_URL=valkey.url)

    for page in (ada, grace):
        await expect(page.locator("chat-message").last).to_contain_text("From a shell")


async def test_room_list_is_live(chat, log_in):
    ada = await log_in(chat, "ada")
    grace = await log_in(chat, "grace")
    await live(grace, "/")

    await live(ada, await new_room(ada, "Brand-new"))
    item = grace.get_by_role("listitem").filter(has_text="Brand-new")
    await expect(item).to_contain_text("No messages yet")
    await send(ada, "First!")

    await expect(item).to_contain_text("Ada: First!")
    await expect(item.locator(".count")).to_have_text(re.compile(r"^1\b"))


async def test_stranger_to_a_room_is_told_of_the_refusal(chat, log_in):
    grace = await log_in(chat, "grace")

    await live(grace, "/rooms/3/")

    await expect(grace.get_by_role("alert")).to_contain_text("You are not a member")


async def test_member_who_is_put_out_hears_nothing_more(chat, log_in):
    ada = await log_in(chat, "ada")
    grace = await log_in(chat, "grace")
    await live(ada, "/rooms/3/")
    await ada.locator("summary").click()
    await ada.get_by_label("User").select_option("grace")
    await ada.get_by_role("button", name="Add member").click()
    remove = ada.get_by_role("button", name="Remove grace")
    await expect(remove).to_be_visible()
    await live(grace, "/rooms/3/")
    notice = grace.locator("main denied-notice")
    await expect(notice).to_be_hidden()
    await expect(grace.locator("chat-message").first).to_be_visible()

    await remove.click()
    await expect(notice).to_contain_text("You are not a member of this room.")
    await expect(grace.locator(".message")).to_have_count(0)
    await send(ada, "Now that we are alone")

    await expect(ada.locator("chat-message").last).to_contain_text("alone")
    await expect(grace.get_by_text("Now that we are alone")).to_have_count(0)


async def test_announcement_reaches_every_page(chat, log_in):
    ada = await log_in(chat, "ada")
    grace = await log_in(chat, "grace")
    await live(grace, "/board/")
    await live(ada, "/announcements/")

    await ada.get_by_label("Announcement").fill("There is cake")
    await ada.get_by_role("button", name="Announce").click()

    for page in (ada, grace):
        await expect(page.locator(".announcement")).to_contain_text("There is cake")


async def test_badge_says_when_the_connection_is_lost_and_the_page_catches_up(
    own_chat, log_in
):
    ada = await log_in(own_chat, "ada")
    grace = await log_in(own_chat, "grace")
    await live(ada, "/rooms/1/")
    await live(grace, "/rooms/1/")
    badge = status(ada)

    own_chat.stop()
    await expect(badge).to_contain_text("Connection lost")
    own_chat.start()
    await expect(badge).to_have_text("Live")
    await expect(status(grace)).to_have_text("Live")
    await send(grace, "Here we are again")

    await expect(ada.locator("chat-message").last).to_contain_text("Here we are again")


async def test_board_refresh_keeps_what_is_being_typed(chat, log_in):
    ada = await log_in(chat, "ada")
    grace = await log_in(chat, "grace")
    await live(ada, "/board/")
    await live(grace, "/board/")
    field = grace.get_by_label("Title")
    await field.fill("Half a thou")
    edited = grace.locator(".card", has_text="Water the plants")
    await edited.get_by_role("link", name="Edit").click()
    await grace.get_by_label("Title").nth(1).fill("Water the tall pla")

    await ada.get_by_label("Title").fill("Clean the windows")
    await ada.get_by_role("button", name="Add").click()

    await expect(grace.locator("#column-todo")).to_contain_text("Clean the windows")
    await expect(ada.locator("#column-todo")).to_contain_text("Clean the windows")
    await expect(field.first).to_have_value("Half a thou")
    await expect(grace.get_by_label("Title").nth(1)).to_have_value("Water the tall pla")
    await expect(ada.get_by_label("Title")).to_have_value("")


async def test_pages_keep_to_the_policy(chat, log_in):
    ada = await log_in(chat, "ada")
    said: list[str] = []
    ada.on("console", lambda line: said.append(line.text))

    pages = {"Board": "/board/", "Announce": "/announcements/", "Rooms": "/"}
    for name, path in pages.items():
        await ada.get_by_role("link", name=name, exact=True).click()
        await expect(ada).to_have_url(path)
        await expect(status(ada)).to_have_text("Live")
    await live(ada, await new_room(ada, "Policy"))
    await send(ada, "Nothing inline")
    await expect(ada.locator("chat-message")).to_contain_text("Nothing inline")

    assert said == []
    rules = "[...document.styleSheets].filter(s => s.cssRules.length).length"
    assert await ada.evaluate(rules) == 6  # five of ours, and Turbo's progress bar


async def test_inspector_follows_what_goes_on(chat, log_in):
    ada = await log_in(chat, "ada")
    grace = await log_in(chat, "grace")
    said: list[str] = []
    ada.on("console", lambda line: said.append(line.text))
    await live(grace, "/rooms/1/")
    await ada.goto("/__turbo__/")
    source = ada.locator("turbo-channels-stream-source")
    await expect(source).to_have_attribute("connected", "")

    await send(grace, "Is anybody looking?")

    shown = ada.get_by_label("Sent to chat:RoomStream:1").first
    await expect(shown).to_contain_text("Is anybody looking?")
    await expect(shown).to_contain_text('<turbo-stream action="append"')
    assert said == []
    answer = await grace.request.get("/__turbo__/")
    assert answer.status == 404
