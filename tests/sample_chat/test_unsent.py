"""What is sent is shown at once, and saved once, whatever the network does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import Page, Route, WebSocketRoute, expect

from tests.sample_chat.test_live import live, message_field, new_room, send

pytestmark = pytest.mark.browser

POST = "**/rooms/*/messages/"
ONLINE = "dispatchEvent(new Event('online'))"


async def says(page: Page, *texts: str) -> None:
    """Wait until the room has exactly these messages, and nothing is pending."""
    await expect(page.locator(".messages .text")).to_have_text(texts)
    await expect(page.locator(".pending")).to_have_count(0)


class Cut:
    """The WebSocket of a page, which a test cuts and mends."""

    def __init__(self) -> None:
        self._open: list[WebSocketRoute] = []
        self._is_cut = False

    async def watch(self, page: Page) -> None:
        await page.route_web_socket("**/ws/", self._route)

    async def _route(self, socket: WebSocketRoute) -> None:
        if self._is_cut:
            return await socket.close()
        socket.connect_to_server()
        self._open.append(socket)

    async def cut(self) -> None:
        self._is_cut = True
        while self._open:
            await self._open.pop().close()

    async def mend(self, page: Page) -> None:
        self._is_cut = False
        await page.evaluate(ONLINE)


class Held:
    """The posts of a page: let in and answered when the test says so."""

    def __init__(self) -> None:
        self.enter, self.answer = asyncio.Event(), asyncio.Event()

    async def __call__(self, route: Route) -> None:
        await self.enter.wait()
        response = await route.fetch()
        await self.answer.wait()
        await route.fulfill(response=response)


async def lose_the_answer(route: Route) -> None:
    await route.fetch()
    await route.abort()


async def refuse(route: Route) -> None:
    await route.fulfill(status=500)


async def test_pending_until_the_broadcast(chat: Any, log_in: Any) -> None:
    ada, posts = await log_in(chat, "ada"), Held()
    await live(ada, await new_room(ada, "Broadcast first"))
    await ada.route(POST, posts)

    await send(ada, "Here I am")
    pending = ada.locator(".pending")
    await expect(pending).to_contain_text("Here I am")
    await expect(pending).to_contain_text("Sending…")
    await expect(message_field(ada)).to_have_value("")
    posts.enter.set()

    await says(ada, "Here I am")  # though there is no answer yet
    async with ada.expect_response(POST):
        posts.answer.set()
    await says(ada, "Here I am")


async def test_settled_by_the_answer_while_the_socket_is_down(
    chat: Any, log_in: Any
) -> None:
    ada, socket = await log_in(chat, "ada"), Cut()
    await socket.watch(ada)
    await live(ada, await new_room(ada, "Answer first"))
    await socket.cut()

    await send(ada, "Is this on?")
    await expect(ada.locator(".pending[state=sent]")).to_contain_text("Is this on?")
    await socket.mend(ada)

    await says(ada, "Is this on?")


async def test_sent_again_after_a_lost_answer_and_saved_once(
    chat: Any, log_in: Any
) -> None:
    ada, socket = await log_in(chat, "ada"), Cut()
    await socket.watch(ada)
    await live(ada, await new_room(ada, "Answer lost"))
    await socket.cut()
    await ada.route(POST, lose_the_answer)

    await send(ada, "Once")
    await expect(ada.locator(".pending")).to_contain_text("Waits for the connection")
    await ada.unroute(POST)
    async with ada.expect_response(POST):
        await socket.mend(ada)

    await says(ada, "Once")
    await ada.reload()
    await says(ada, "Once")


async def test_written_offline_and_sent_in_order(chat: Any, log_in: Any) -> None:
    ada, grace = await log_in(chat, "ada"), await log_in(chat, "grace")
    room = await new_room(ada, "Offline")
    await live(ada, room)
    await live(grace, room)

    await ada.context.set_offline(True)
    for word in ("one", "two", "three"):
        await send(ada, word)
    waiting = ada.locator(".pending[state=waiting]")
    await expect(waiting.locator(".text")).to_have_text(["one", "two", "three"])
    await expect(waiting.first).to_contain_text("Waits for the connection")
    await ada.context.set_offline(False)

    await says(ada, "one", "two", "three")
    await says(grace, "one", "two", "three")


async def test_waiting_survives_a_reload(chat: Any, log_in: Any) -> None:
    ada = await log_in(chat, "ada")
    await live(ada, await new_room(ada, "Reloaded"))
    await ada.route(POST, lambda route: route.abort())

    await send(ada, "Still here")
    await expect(ada.locator(".pending[state=waiting]")).to_be_visible()
    await ada.unroute(POST)
    await ada.reload()

    await says(ada, "Still here")


async def test_failed_says_so_and_is_sent_again(chat: Any, log_in: Any) -> None:
    ada = await log_in(chat, "ada")
    await live(ada, await new_room(ada, "Failed"))
    await ada.route(POST, refuse)

    await send(ada, "Please")
    await expect(ada.locator(".pending")).to_contain_text("Not sent.")
    await ada.unroute(POST)
    await ada.get_by_role("button", name="Send again").click()

    await says(ada, "Please")


async def test_refused_message_can_be_edited(chat: Any, log_in: Any) -> None:
    ada = await log_in(chat, "ada")
    await live(ada, await new_room(ada, "Refused"))
    field = message_field(ada)

    await field.evaluate("field => field.removeAttribute('maxlength')")
    await send(ada, "x" * 2001)
    await expect(ada.locator("#message-errors")).to_contain_text("at most 2000")
    await ada.locator(".pending").get_by_role("button", name="Edit").click()

    await expect(field).to_have_value("x" * 2001)
    await expect(field).to_be_focused()
    await says(ada)


async def test_messages_sent_in_a_row_lose_no_key(chat: Any, log_in: Any) -> None:
    ada, posts = await log_in(chat, "ada"), Held()
    await live(ada, await new_room(ada, "In a row"))
    field = message_field(ada)
    await ada.route(POST, posts)

    for word in ("one", "two", "three"):
        await field.press_sequentially(word)
        await field.press("Enter")
    await expect(ada.locator(".pending .text")).to_have_text(["one", "two", "three"])
    posts.enter.set()
    posts.answer.set()

    await says(ada, "one", "two", "three")
    await expect(field).to_be_focused()
    await expect(field).to_have_value("")
    await ada.unroute_all(behavior="wait")  # the last answer may be on its way
