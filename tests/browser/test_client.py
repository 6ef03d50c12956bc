"""The stream source in a real browser: what it asks for, shows and tells."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Page

from tests.browser.scripted import Site, Socket
from tests.browser.watching import (
    SOURCE,
    attribute,
    connected,
    events,
    record_events,
    shows,
)

pytestmark = pytest.mark.browser

NewPage = Callable[[], Awaitable[Page]]


async def test_page_without_sources_opens_no_socket(site: Site, page: Page) -> None:
    site.show("/")
    site.show("/chat", "chat")

    await page.goto(site.url())
    await page.goto(site.url("/chat"))
    await connected(page)

    assert len(site.sockets) == 1


async def test_message_is_shown_and_moves_the_position(site: Site, page: Page) -> None:
    site.show("/", "chat")
    await page.goto(site.url())
    await connected(page)
    assert await attribute(page, "since") == "e1:0"

    await site.publish("chat", "one", "two")
    await shows(page, "one", "two")

    assert await attribute(page, "since") == "e1:2"


async def test_what_happened_since_the_page_was_born_is_shown(
    site: Site, page: Page
) -> None:
    site.log["chat"] = ["one"]
    html = site.html("chat")
    site.log["chat"] += ["two", "three"]
    site.views["/"] = lambda: html

    await page.goto(site.url())

    await shows(page, "one", "two", "three")


async def test_all_sources_share_one_socket_and_one_frame(
    site: Site, page: Page
) -> None:
    site.show("/", "chat", "room", "news")

    await page.goto(site.url())
    await connected(page, 3)

    socket = await site.socket()
    assert len(site.sockets) == 1
    assert [frame["type"] for frame in socket.received] == ["subscribe"]
    assert [entry["name"][:5] for entry in socket.asked()] == [
        "chat~",
        "room~",
        "news~",
    ]


async def test_events_say_how_the_source_is(site: Site, page: Page) -> None:
    site.show("/", "chat")
    await record_events(page)

    await page.goto(site.url())
    await connected(page)
    name = await attribute(page, "signed-stream-name")
    (await site.socket()).cut()

    assert await events(page, 3) == [
        {"kind": "connected", "name": name, "position": "e1:0"},
        {"kind": "disconnected", "name": name, "position": "e1:0"},
        {"kind": "connected", "name": name, "position": "e1:0"},
    ]


async def test_attribute_goes_while_the_socket_is_gone(site: Site, page: Page) -> None:
    site.show("/", "chat")
    await page.goto(site.url())
    await connected(page)
    site.answer = _never

    (await site.socket()).cut()

    await page.wait_for_selector(f"{SOURCE}:not([connected])", state="attached")


async def test_denied_source_says_why(site: Site, page: Page) -> None:
    site.answer = _deny("forbidden")
    site.show("/", "secret", "chat")
    await record_events(page)

    await page.goto(site.url())
    await connected(page)
    noted = await events(page, 2)
    denied = page.locator(f"{SOURCE}[denied]")
    assert await denied.get_attribute("denied") == "forbidden"
    assert [(event["kind"], event.get("reason")) for event in noted] == [
        ("denied", "forbidden"),
        ("connected", None),
    ]
    (await site.socket()).cut()
    await site.subscription("chat", 2)
    assert len(site.asked("secret")) == 1


async def test_denied_source_that_is_asked_for_again_is_connected(
    site: Site, page: Page
) -> None:
    """Another element with its name asks, and the server has changed its mind."""
    site.answer = _deny("forbidden")
    site.show("/", "secret")
    await page.goto(site.url())
    await page.wait_for_selector(f"{SOURCE}[denied]", state="attached")
    site.answer = None

    await page.evaluate(
        """selector => {
            const source = document.querySelector(selector)
            document.body.append(source.cloneNode())
        }""",
        SOURCE,
    )
    await connected(page, 2)

    assert await page.locator(f"{SOURCE}[denied]").count() == 0


async def test_revoked_source_shows_nothing_more(site: Site, page: Page) -> None:
    site.show("/", "chat", "room")
    await page.goto(site.url())
    await connected(page, 2)
    socket = await site.socket()
    name = site.asked("chat")[0]["name"]

    await socket.send({"type": "denied", "name": name, "reason": "revoked"})
    await site.publish("chat", "secret")
    await site.publish("room", "public")
    await shows(page, "public", stream="room")

    await shows(page)
    await connected(page, 1)


async def test_unavailable_stream_is_asked_for_again(site: Site, page: Page) -> None:
    refused: list[str] = []

    async def answer(socket: Socket, name: str, since: str) -> bool:
        if len(refused) == 2:
            return False
        refused.append(name)
        await socket.send({"type": "retry", "name": name, "reason": "unavailable"})
        return True

    site.answer = answer
    site.show("/", "chat")

    await page.goto(site.url())
    await connected(page)

    assert len(site.sockets) == 1
    assert [entry["since"] for entry in site.asked("chat")] == ["@0.h"] * 3


async def test_two_names_of_a_stream_show_each_message_once(
    site: Site, page: Page
) -> None:
    site.show("/", "chat", body=site.source("chat"))
    await page.goto(site.url())
    await connected(page, 2)

    await site.publish("chat", "one", "two")
    (await site.socket()).cut()
    await site.publish("chat", "three")
    await shows(page, "one", "two", "three")
    # One of them goes: the other goes on.
    await page.locator(SOURCE).first.evaluate("(source) => source.remove()")
    await site.until(lambda: site.sockets[-1].received[-1]["type"] == "unsubscribe")
    await site.publish("chat", "four")

    await shows(page, "one", "two", "three", "four")


async def test_one_name_twice_is_one_subscription(site: Site, page: Page) -> None:
    source = site.source("chat", name="chat~same")
    site.show("/", body=source + source + site.listing("chat"))
    await page.goto(site.url())
    await connected(page, 2)

    await site.publish("chat", "one")
    await shows(page, "one")

    assert len(site.asked("chat")) == 1


async def test_two_pages_see_the_same(site: Site, new_page: NewPage) -> None:
    site.show("/", "chat")
    pages = [await new_page(), await new_page()]
    for page in pages:
        await page.goto(site.url())
        await connected(page)

    await site.publish("chat", "one", "two")

    for page in pages:
        await shows(page, "one", "two")


def _deny(reason: str) -> Callable[[Socket, str, str], Awaitable[bool]]:
    async def answer(socket: Socket, name: str, since: str) -> bool:
        if not name.startswith("secret~"):
            return False
        await socket.send({"type": "denied", "name": name, "reason": reason})
        return True

    return answer


async def _never(socket: Socket, name: str, since: str) -> bool:
    return True
