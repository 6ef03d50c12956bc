"""The stream source in a real browser: how it connects, returns and leaves."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Page, async_playwright

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
    assert [entry["name"][:5] for entry in socket.asked()] == ["chat~", "room~", "news~"]


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


async def test_nothing_is_lost_or_doubled_over_cuts(site: Site, page: Page) -> None:
    site.show("/", "chat")
    await page.goto(site.url())
    await connected(page)

    for number in range(1, 4):
        await site.publish("chat", f"live {number}")
        (await site.socket(number)).cut()
        await site.publish("chat", f"missed {number}")
        await shows(page, *site.log["chat"])
    await site.publish("chat", "last")

    await shows(page, *site.log["chat"])


@pytest.mark.parametrize("code", [1012, 4008])
async def test_server_that_asks_is_returned_to(
    site: Site, page: Page, code: int
) -> None:
    site.show("/", "chat")
    await page.goto(site.url())
    await connected(page)

    await (await site.socket()).close(code)
    await site.publish("chat", "missed")

    await shows(page, "missed")


async def test_page_that_may_not_connect_stays_away(site: Site, page: Page) -> None:
    site.show("/", "chat")
    site.show("/other", "chat")
    await record_events(page)
    await page.goto(site.url())
    await connected(page)

    await (await site.socket()).close(4403)
    noted = await events(page, 3)

    assert [event["kind"] for event in noted] == ["connected", "disconnected", "denied"]
    assert await attribute(page, "denied") == "forbidden"
    # Another page asks again.
    await page.evaluate("Turbo.visit('/other')")
    await connected(page)
    assert len(site.sockets) == 2


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
    refused = []

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


async def test_removed_source_leaves_and_the_last_one_closes(
    site: Site, page: Page
) -> None:
    site.show("/", "chat", "room")
    await page.goto(site.url())
    await connected(page, 2)
    socket = await site.socket()
    names = [entry["name"] for entry in socket.asked()]

    await page.locator(SOURCE).first.evaluate("(source) => source.remove()")
    await site.until(lambda: len(socket.received) == 2)
    await page.locator(SOURCE).evaluate("(source) => source.remove()")
    await site.until(lambda: not socket.is_open)

    assert socket.received[1] == {"type": "unsubscribe", "streams": names[:1]}
    assert len(socket.received) == 2


async def test_removed_sources_leave_no_listeners(site: Site, page: Page) -> None:
    # Before the page's own scripts: count what is added, and what a signal takes away.
    await page.add_init_script(
        """
        window.listeners = new Set()
        for (const target of [window, document]) {
          const add = target.addEventListener
          target.addEventListener = function (name, listener, options) {
            if (options?.signal) {
              const entry = { name, signal: options.signal }
              window.listeners.add(entry)
              options.signal.addEventListener("abort", () => listeners.delete(entry))
            }
            return add.call(this, name, listener, options)
          }
        }
        """
    )
    site.show("/", "chat")
    await page.goto(site.url())
    await connected(page)
    names = "[...listeners].map(({ name }) => name).sort()"
    assert await page.evaluate(names) == [
        "freeze",
        "online",
        "pagehide",
        "pageshow",
        "resume",
        "visibilitychange",
    ]

    await page.locator(SOURCE).evaluate("(source) => source.remove()")
    socket = await site.socket()
    await site.until(lambda: not socket.is_open)

    assert await page.evaluate(names) == []


async def test_moved_source_says_nothing_and_misses_nothing(
    site: Site, page: Page
) -> None:
    site.show("/", "chat", body="<div id=elsewhere></div>")
    await page.goto(site.url())
    await connected(page)
    await record_mutations(page)

    await page.locator(SOURCE).evaluate(
        "(source) => document.querySelector('#elsewhere').append(source)"
    )
    await site.publish("chat", "one")
    await shows(page, "one")

    assert len(site.asked("chat")) == 1
    assert await page.evaluate("window.strips") == 0


async def record_mutations(page: Page) -> None:
    """Count how often a source loses its ``connected``."""
    await page.evaluate(
        """() => {
            window.strips = 0
            new MutationObserver((records) => {
              for (const { target } of records) {
                if (!target.hasAttribute("connected")) window.strips += 1
              }
            }).observe(document, { attributeFilter: ["connected"], subtree: true })
        }"""
    )


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
    site.show("/", body=source + source + site.list("chat"))
    await page.goto(site.url())
    await connected(page, 2)

    await site.publish("chat", "one")
    await shows(page, "one")

    assert len(site.asked("chat")) == 1


async def test_page_kept_by_the_browser_comes_back_whole(
    site: Site, chromium: str
) -> None:
    site.show("/", "chat", body='<a href="/other" data-turbo="false">go</a>')
    site.show("/other", "room")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu"],
            ignore_default_args=["--disable-back-forward-cache"],
        )
        page = await browser.new_page()
        await page.goto(site.url())
        await connected(page)
        socket = await site.socket()
        await page.click("a")
        await page.wait_for_url(re.compile("/other$"))
        await connected(page)
        await site.until(lambda: not socket.is_open)
        await site.publish("chat", "missed")

        await page.go_back(wait_until="commit")
        assert (await site.subscription("chat", 2))["since"] == "e1:0"
        await site.publish("chat", "live")
        await shows(page, "missed", "live")

        assert site.requests == ["/", "/other"]
        await browser.close()


@pytest.mark.parametrize(
    "event",
    [
        "window.dispatchEvent(new Event('online'))",
        "document.dispatchEvent(new Event('visibilitychange'))",
        "window.dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))",
    ],
    ids=["online", "visible", "restored"],
)
async def test_page_that_wakes_reconnects_at_once(
    site: Site, page: Page, event: str
) -> None:
    # No timer runs out while `isStill` is set: no attempt is made by itself.
    await page.add_init_script(
        """
        const later = window.setTimeout
        window.setTimeout = (...args) => (window.isStill ? 0 : later(...args))
        """
    )
    site.show("/", "chat")
    await page.goto(site.url())
    await connected(page)
    await page.evaluate("window.isStill = true")
    (await site.socket()).cut()
    await page.wait_for_selector(f"{SOURCE}:not([connected])", state="attached")
    await site.publish("chat", "missed")

    await page.evaluate(event)

    await shows(page, "missed")


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
