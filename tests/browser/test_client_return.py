"""How the client comes back, and how it leaves."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Page, async_playwright

from tests.browser.scripted import Site
from tests.browser.watching import (
    SOURCE,
    attribute,
    connected,
    events,
    record_events,
    shows,
)

pytestmark = pytest.mark.browser


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


async def test_page_kept_by_the_browser_comes_back_whole(
    site: Site, windowed_chromium: str
) -> None:
    site.show("/", "chat", body='<a href="/other" data-turbo="false">go</a>')
    site.show("/other", "room")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=windowed_chromium,
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
        "window.dispatchEvent(new Event('focus'))",
        "document.dispatchEvent(new Event('visibilitychange'))",
        "window.dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))",
    ],
    ids=["online", "focused", "visible", "restored"],
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
        "focus",
        "freeze",
        "offline",
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
