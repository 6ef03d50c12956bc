"""Turbo Drive and the stream source: visits, snapshots, previews, what is permanent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

import pytest
from playwright.async_api import Page

from tests.browser.scripted import Site
from tests.browser.watching import (
    attribute,
    connected,
    is_marked,
    let_pass,
    mark,
    shows,
    texts,
    turn_clock,
)

pytestmark = pytest.mark.browser

TO_OTHER = '<a id="go" href="/other" style="position: fixed; top: 300px">go</a>'
TO_HOME = '<a id="back" href="/">back</a>'


async def next_frames(page: Page) -> None:
    """Let everything happen that waits for a repaint."""
    await page.evaluate(
        "new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))"
    )


async def preview(site: Site, page: Page) -> Callable[[], None]:
    """Come back to a page, of which a preview is shown until the result is called."""
    await page.goto(site.url())
    await page.click("#go")
    await page.wait_for_selector("#back")
    await connected(page)
    release = site.hold("/")
    await page.click("#back")
    await page.wait_for_selector("html[data-turbo-preview] #go")
    return release


async def test_visit_keeps_the_socket(site: Site, page: Page) -> None:
    site.show("/", "chat", body=TO_OTHER)
    site.show("/other", "room", body=TO_HOME)
    await page.goto(site.url())
    await connected(page)
    await mark(page)
    socket = await site.socket()

    await page.click("#go")
    await site.until(lambda: len(socket.received) == 3)
    await site.publish("room", "one")
    await shows(page, "one", stream="room")

    kinds = [frame["type"] for frame in socket.received]
    assert kinds == ["subscribe", "subscribe", "unsubscribe"]
    assert socket.received[2]["streams"] == [socket.asked()[0]["name"]]
    assert len(site.sockets) == 1
    assert await is_marked(page)


async def test_visit_to_a_page_without_sources_closes_the_socket(
    site: Site, page: Page
) -> None:
    site.show("/", "chat", body=TO_OTHER)
    site.show("/other", body=TO_HOME)
    await page.goto(site.url())
    await connected(page)
    socket = await site.socket()

    await page.click("#go")

    await site.until(lambda: not socket.is_open)


async def test_new_page_gets_what_happened_since_it_was_rendered(
    site: Site, page: Page
) -> None:
    site.show("/", "chat", body=TO_OTHER)
    site.show("/other", "chat", body=TO_HOME)
    release = site.hold("/other")
    await page.goto(site.url())
    await connected(page)

    # The old page shows what comes while the new one is on its way.
    await page.click("#go")
    await site.requested("/other", 1)
    await site.publish("chat", "one", "two")
    await shows(page, "one", "two")
    release()
    await page.wait_for_selector("#back")

    await shows(page, "one", "two")
    await site.publish("chat", "three")
    await shows(page, "one", "two", "three")
    assert site.asked("chat")[1]["since"] == "@1.h"
    assert len(site.sockets) == 1


async def test_page_that_was_fetched_ahead_is_brought_up_to_date(
    site: Site, page: Page
) -> None:
    site.show("/", "chat", head='<meta name="turbo-prefetch">', body=TO_OTHER)
    site.show("/other", "chat", body=TO_HOME)
    await page.goto(site.url())
    await connected(page)

    await page.hover("#go")
    await site.requested("/other", 1)
    await site.publish("chat", "one")
    await shows(page, "one")
    await page.click("#go")
    await page.wait_for_selector("#back")

    await shows(page, "one")
    assert site.requests == ["/", "/other"]


async def test_burst_over_many_visits_is_shown_once(site: Site, page: Page) -> None:
    site.show("/", "chat", body=TO_OTHER)
    site.show("/other", "chat", body=TO_HOME)
    await page.goto(site.url())
    await connected(page)

    async def visit() -> None:
        for _ in range(6):
            for path, link in (("/other", "#back"), ("/", "#go")):
                await page.evaluate("(path) => Turbo.visit(path)", path)
                await page.wait_for_selector(f"html:not([data-turbo-preview]) {link}")

    visits = asyncio.create_task(visit())
    for number in count():
        await site.publish("chat", f"{number}")
        await next_frames(page)
        if visits.done():
            break
    await visits

    await shows(page, *site.log["chat"])
    assert len(site.sockets) == 1


async def test_message_never_goes_into_the_wrong_page(site: Site, page: Page) -> None:
    """What was meant for the old page must not be shown by the one that replaces it."""
    site.show("/", "chat", body=TO_OTHER)
    site.show("/other", body='<ul id="chat"></ul>' + TO_HOME)
    # Turbo takes the new page in as soon as the message has arrived; by itself it would
    # show the message in the frame after that.
    await page.add_init_script(
        """
        addEventListener("turbo:before-render", (event) => {
          event.preventDefault()
          addEventListener("turbo:before-stream-render", () => event.detail.resume())
          window.isPaused = true
        })
        """
    )
    await page.goto(site.url())
    await connected(page)
    await page.click("#go")
    await page.wait_for_function("() => window.isPaused")

    await site.publish("chat", "old")
    await page.wait_for_selector("#back")
    await next_frames(page)

    assert await texts(page) == []


async def test_restored_page_gets_what_it_missed(site: Site, page: Page) -> None:
    site.show("/", "chat", body=TO_OTHER)
    site.show("/other", "room", body=TO_HOME)
    await page.goto(site.url())
    await connected(page)
    await site.publish("chat", "one")
    await shows(page, "one")
    await page.click("#go")
    await page.wait_for_selector("#back")
    await site.publish("chat", "two")

    await page.go_back(wait_until="commit")

    await shows(page, "one", "two")
    assert site.asked("chat")[1]["since"] == "e1:1"
    await site.publish("chat", "three")
    await shows(page, "one", "two", "three")
    assert site.requests == ["/", "/other"]


async def test_restored_page_while_its_stream_is_live(site: Site, page: Page) -> None:
    site.show("/", "chat", body=TO_OTHER)
    site.show("/other", "chat", body=TO_HOME)
    await page.goto(site.url())
    await connected(page)
    await site.publish("chat", "one")
    await shows(page, "one")
    await page.click("#go")
    await page.wait_for_selector("#back")
    await connected(page)
    await site.publish("chat", "two")
    await shows(page, "one", "two")

    await page.go_back(wait_until="commit")
    await page.wait_for_selector("#go")
    await shows(page, "one", "two")
    await page.go_forward(wait_until="commit")
    await page.wait_for_selector("#back")
    await site.publish("chat", "three")

    await shows(page, "one", "two", "three")


async def test_snapshot_does_not_claim_to_be_connected(site: Site, page: Page) -> None:
    site.show("/", "chat", body=TO_OTHER)
    site.show("/other", body=TO_HOME)
    await page.goto(site.url())
    await connected(page)
    socket = await site.socket()
    await page.click("#go")
    await site.until(lambda: not socket.is_open)
    await page.evaluate(
        """addEventListener("turbo:render", () => {
            window.claimed = document.querySelector("[connected]") !== null
        })"""
    )

    await page.go_back(wait_until="commit")
    await connected(page)

    assert await page.evaluate("window.claimed") is False


async def test_preview_is_not_connected(site: Site, page: Page) -> None:
    site.show("/", "chat", body=TO_OTHER)
    site.show("/other", "room", body=TO_HOME)
    release = await preview(site, page)

    await site.requested("/", 2)
    assert await attribute(page, "connected") is None
    await site.publish("chat", "one")
    assert len(site.asked("chat")) == 1
    release()

    await shows(page, "one")
    await page.wait_for_selector("html:not([data-turbo-preview])")
    # By the page itself, not by its picture.
    assert [entry["since"][0] for entry in site.asked("chat")] == ["@", "@"]


async def test_preview_keeps_the_socket(site: Site, page: Page) -> None:
    site.show("/", "chat", body=TO_OTHER)
    site.show("/other", "room", body=TO_HOME)
    await turn_clock(page)
    release = await preview(site, page)

    await let_pass(page, seconds=5)
    release()
    await page.wait_for_selector("html:not([data-turbo-preview])")
    await site.publish("chat", "one")
    await shows(page, "one")

    assert len(site.sockets) == 1


async def test_permanent_source_stays_subscribed(site: Site, page: Page) -> None:
    def widget() -> str:
        inner = site.source("chat") + site.listing("chat")
        return f'<div id="widget" data-turbo-permanent>{inner}</div>'

    site.views["/"] = lambda: site.html(body=widget() + TO_OTHER)
    site.views["/other"] = lambda: site.html(body=widget() + TO_HOME)
    release = site.hold("/other")
    await page.goto(site.url())
    await connected(page)
    await site.publish("chat", "one")

    await page.click("#go")
    await site.requested("/other", 1)
    await site.publish("chat", "two")
    await shows(page, "one", "two")
    release()
    await page.wait_for_selector("#back")
    await site.publish("chat", "three")
    await shows(page, "one", "two", "three")

    assert await attribute(page, "connected") == ""
    assert len(site.asked("chat")) == 1


async def test_permanent_source_lives_through_a_preview(site: Site, page: Page) -> None:
    widget = site.source("chat") + site.listing("chat")
    body = f'<div id="widget" data-turbo-permanent>{widget}</div>'
    site.show("/", body=body + TO_OTHER)
    site.show("/other", body=body + TO_HOME)
    release = await preview(site, page)

    await site.publish("chat", "one")
    await shows(page, "one")
    release()
    await page.wait_for_selector("html:not([data-turbo-preview])")
    await site.publish("chat", "two")

    await shows(page, "one", "two")
    assert len(site.asked("chat")) == 1
