"""The page of the sample chat that is fed with JSON."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from tests.sample_chat.test_live import live, new_room, send

pytestmark = pytest.mark.browser


async def choose(page: Page, room: str) -> None:
    await page.goto("/pocket/")
    await page.get_by_role("combobox", name="Room").select_option(room)


async def test_messages_go_to_and_fro(chat, log_in):
    """What is said in the pocket is heard in the room, and the other way round."""
    ada, grace = await log_in(chat, "ada"), await log_in(chat, "grace")
    room = await new_room(ada, "From the pocket")
    await live(ada, room)
    await choose(grace, "From the pocket")
    said = grace.get_by_role("log").get_by_role("listitem")
    await expect(said).to_have_count(0)

    await send(ada, "<b>Hello</b>, pocket")
    await expect(said).to_have_text("Ada <b>Hello</b>, pocket")
    await grace.get_by_role("textbox", name="Message").fill("Hello, room")
    await grace.get_by_role("button", name="Send").click()
    await expect(ada.locator("chat-message").nth(1)).to_contain_text("Hello, room")
    await expect(said.nth(1)).to_have_text("Grace Hello, room")

    message = ada.locator("chat-message").first
    await message.get_by_role("link", name="Edit").click()
    await ada.locator("turbo-frame textarea").fill("Hello again")
    await ada.get_by_role("button", name="Save").click()
    await expect(said.first).to_have_text("Ada Hello again")
    await message.get_by_role("link", name="Delete").click()
    await ada.get_by_role("button", name="Delete").click()
    await expect(said).to_have_count(1)


async def test_rooms_come_and_the_server_restarts(own_chat, log_in):
    ada, grace = await log_in(own_chat, "ada"), await log_in(own_chat, "grace")
    await choose(grace, "Lobby")
    await new_room(ada, "Brand new")
    options = grace.get_by_role("combobox", name="Room").locator("option")
    await expect(options.filter(has_text="Brand new")).to_have_count(1)

    own_chat.kill()
    own_chat.start()
    room = await new_room(ada, "After the restart")
    await expect(options.filter(has_text="After the restart")).to_have_count(1)
    await live(ada, room)
    await grace.get_by_role("combobox", name="Room").select_option("After the restart")
    await send(ada, "Still there?")
    await expect(grace.get_by_role("log")).to_contain_text("Still there?")


async def test_leaving_the_page_closes_its_socket(chat, log_in):
    ada = await log_in(chat, "ada")
    sockets = []
    ada.on("websocket", lambda socket: sockets.append(socket))
    await choose(ada, "Lobby")
    await expect(ada.get_by_role("combobox", name="Room")).to_be_visible()
    [pocket] = [socket for socket in sockets if socket.url.endswith("/ws/pocket/")]

    async with pocket.expect_event("close"):
        await ada.get_by_role("link", name="Rooms").first.click()

    await expect(ada.locator("pocket-chat")).to_have_count(0)
