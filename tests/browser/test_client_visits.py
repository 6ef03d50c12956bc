"""Turbo Drive and the stream source: visits, snapshots, previews, morphs, frames."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from playwright.async_api import Page

from tests.browser.scripted import Site, append
from tests.browser.watching import (
    SOURCE,
    attribute,
    connected,
    is_marked,
    mark,
    shows,
    texts,
)

pytestmark = pytest.mark.browser

TO_OTHER = '<a id="go" href="/other" style="position: fixed; top: 300px">go</a>'
TO_HOME = '<a id="back" href="/">back</a>'
MORPH = '<meta name="turbo-refresh-method" content="morph">'


def hold(site: Site, path: str) -> Callable[[], None]:
    """Render a page at once, and answer with it only when the result is called."""
    view, released = site.views[path], asyncio.Event()

    async def held() -> str:
        html = view()
        assert isinstance(html, str)
        await released.wait()
        return html

    site.views[path] = held
    return released.set


async def visit(page: Page, path: str, action: str = "advance") -> None:
    await page.evaluate(
        "([path, action]) => Turbo.visit(path, { action })", [path, action]
    )


async def next_frames(page: Page) -> None:
    """Let everything happen that waits for a repaint."""
    await page.evaluate(
        "new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)))"
    )


async def requested(site: Site, path: str, number: int) -> None:
    await site.until(lambda: site.requests.count(path) == number)


# --- Visits


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
    release = hold(site, "/other")
    await page.goto(site.url())
    await connected(page)

    # The old page shows what comes while the new one is on its way.
    await page.click("#go")
    await requested(site, "/other", 1)
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
    await requested(site, "/other", 1)
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

    async def chatter() -> None:
        for number in range(150):
            await site.publish("chat", f"{number}")
            await asyncio.sleep(0.01)

    talking = asyncio.create_task(chatter())
    for _ in range(6):
        for selector in ("#go", "#back"):
            await page.click(selector)
            await page.wait_for_selector("#back" if selector == "#go" else "#go")
    await talking

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


# --- Snapshots


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
    await page.goto(site.url())
    await page.click("#go")
    await page.wait_for_selector("#back")
    await connected(page)
    release = hold(site, "/")

    await page.click("#back")
    await page.wait_for_selector("html[data-turbo-preview] #go")
    await requested(site, "/", 2)
    assert await attribute(page, "connected") is None
    await site.publish("chat", "one")
    assert len(site.asked("chat")) == 1
    release()

    await shows(page, "one")
    await page.wait_for_selector("html:not([data-turbo-preview])")
    # By the page itself, not by its picture.
    assert [entry["since"][0] for entry in site.asked("chat")] == ["@", "@"]


# --- Permanent elements


async def test_permanent_source_stays_subscribed(site: Site, page: Page) -> None:
    def widget() -> str:
        inner = site.source("chat") + site.list("chat")
        return f'<div id="widget" data-turbo-permanent>{inner}</div>'

    site.views["/"] = lambda: site.html(body=widget() + TO_OTHER)
    site.views["/other"] = lambda: site.html(body=widget() + TO_HOME)
    release = hold(site, "/other")
    await page.goto(site.url())
    await connected(page)
    await site.publish("chat", "one")

    await page.click("#go")
    await requested(site, "/other", 1)
    await site.publish("chat", "two")
    await shows(page, "one", "two")
    release()
    await page.wait_for_selector("#back")
    await site.publish("chat", "three")
    await shows(page, "one", "two", "three")

    assert await attribute(page, "connected") == ""
    assert len(site.asked("chat")) == 1


async def test_permanent_source_lives_through_a_preview(site: Site, page: Page) -> None:
    widget = site.source("chat") + site.list("chat")
    body = f'<div id="widget" data-turbo-permanent>{widget}</div>'
    site.show("/", body=body + TO_OTHER)
    site.show("/other", body=body + TO_HOME)
    await page.goto(site.url())
    await page.click("#go")
    await page.wait_for_selector("#back")
    await connected(page)
    release = hold(site, "/")

    await page.click("#back")
    await page.wait_for_selector("html[data-turbo-preview] #go")
    await site.publish("chat", "one")
    await shows(page, "one")
    release()
    await page.wait_for_selector("html:not([data-turbo-preview])")
    await site.publish("chat", "two")

    await shows(page, "one", "two")
    assert len(site.asked("chat")) == 1


# --- Morphs


async def test_morph_hands_over_to_the_new_name(site: Site, page: Page) -> None:
    site.show("/", "chat", head=MORPH)
    await page.goto(site.url())
    await connected(page)
    await mark_source(page)
    socket = await site.socket()
    await page.evaluate(
        """() => {
            window.strips = 0
            addEventListener("turbo-stream:disconnected", () => (window.strips += 1))
        }"""
    )

    await visit(page, "/", "replace")
    await site.until(lambda: len(socket.received) == 3)
    await site.publish("chat", "one")
    await shows(page, "one")

    old, new = (entry["name"] for entry in site.asked("chat"))
    assert [frame["type"] for frame in socket.received[1:]] == [
        "subscribe",
        "unsubscribe",
    ]
    assert socket.received[2]["streams"] == [old]
    assert await attribute(page, "signed-stream-name") == new
    assert await attribute(page, "connected") == ""
    assert await is_same_source(page)
    assert await page.evaluate("window.strips") == 0


async def test_morph_that_is_older_than_the_page_loses_nothing(
    site: Site, page: Page
) -> None:
    """The morph takes away what came while it was on its way; the replay brings it."""
    site.show("/", "chat", head=MORPH)
    await page.goto(site.url())
    await connected(page)
    await mark_source(page)
    release = hold(site, "/")

    await visit(page, "/", "replace")
    await requested(site, "/", 2)
    await site.publish("chat", "one", "two")
    await shows(page, "one", "two")
    release()
    await site.subscription("chat", 2)

    await shows(page, "one", "two")
    await site.publish("chat", "three")
    await shows(page, "one", "two", "three")
    assert await is_same_source(page)


async def test_morph_to_the_same_name_and_moment_loses_nothing(
    site: Site, page: Page
) -> None:
    """So it is with a page out of a cache."""
    html = site.html("chat", head=MORPH)
    site.views["/"] = lambda: html
    await page.goto(site.url())
    await connected(page)
    await site.publish("chat", "one", "two")
    await shows(page, "one", "two")

    await visit(page, "/", "replace")
    await site.subscription("chat", 2)

    await shows(page, "one", "two")
    await site.publish("chat", "three")
    await shows(page, "one", "two", "three")


async def test_refresh_in_a_stream_refreshes_once(site: Site, page: Page) -> None:
    """A page out of a cache has the refresh again among what it missed."""
    html = site.html("chat", head=MORPH)
    site.views["/"] = lambda: html
    await page.goto(site.url())
    await connected(page)

    await site.publish("chat", '<turbo-stream action="refresh"></turbo-stream>')
    await site.until(lambda: len(site.asked("chat")) == 5)
    await connected(page)
    await site.publish("chat", "end")
    await shows(page, "end")

    # Nothing is on its way: a refresh waits for 150 ms at most.
    await page.evaluate("new Promise((resolve) => setTimeout(resolve, 300))")
    assert site.requests.count("/") == 5


# --- Frames and streams


async def test_source_in_a_frame_starts_where_the_frame_does(
    site: Site, page: Page
) -> None:
    site.show("/", "chat", body='<turbo-frame id="part"></turbo-frame>')
    site.views["/part"] = lambda: (
        f'<turbo-frame id="part">{site.source("room")}{site.list("room")}</turbo-frame>'
    )
    release = hold(site, "/part")
    await page.goto(site.url())
    await connected(page)

    await page.evaluate("document.querySelector('#part').src = '/part'")
    await requested(site, "/part", 1)
    await site.publish("room", "one")
    release()

    await shows(page, "one", stream="room")
    await connected(page, 2)


async def test_source_that_a_message_brings_is_connected(
    site: Site, page: Page
) -> None:
    site.show("/", "chat", body='<div id="box"></div>')
    await page.goto(site.url())
    await connected(page)
    inner = site.source("room") + site.list("room")

    await site.publish(
        "chat",
        f'<turbo-stream action="update" target="box"><template>{inner}</template>'
        f"</turbo-stream>",
    )
    await connected(page, 2)
    await site.publish("room", "one")

    await shows(page, "one", stream="room")


async def test_message_of_several_elements_is_shown_in_order(
    site: Site, page: Page
) -> None:
    site.show("/", "chat")
    await page.goto(site.url())
    await connected(page)

    remove = '<turbo-stream action="remove" targets="#chat li"></turbo-stream>'
    await site.publish("chat", append("chat", "one") + remove + append("chat", "two"))

    await shows(page, "two")
    assert await page.locator("turbo-stream").count() == 0


async def test_application_may_render_and_prevent(site: Site, page: Page) -> None:
    await page.add_init_script(
        """
        addEventListener("turbo:before-stream-render", (event) => {
          const { newStream, render } = event.detail
          if (newStream.target === "nowhere") event.preventDefault()
          event.detail.render = async (stream) => {
            await render(stream)
            document.title = "shown"
          }
        })
        """
    )
    site.show("/", "chat")
    await page.goto(site.url())
    await connected(page)

    await site.publish("chat", append("nowhere", "one"), "two")
    await shows(page, "two")

    await page.wait_for_function("() => document.title === 'shown'")


async def test_bad_message_does_not_hold_up_the_next(site: Site, page: Page) -> None:
    site.show("/", "chat")
    await page.goto(site.url())
    await connected(page)

    await site.publish(
        "chat",
        '<turbo-stream action="nonsense" target="chat"></turbo-stream>',
        "<p>not a stream</p>",
        '<turbo-stream action="append" target="chat">no template</turbo-stream>',
        "good",
    )

    await shows(page, "good")
    assert await attribute(page, "since") == "e1:4"


async def test_custom_action_is_performed(site: Site, page: Page) -> None:
    site.show("/", "chat")
    await page.goto(site.url())
    await connected(page)
    await page.evaluate(
        """() => {
            Turbo.StreamActions.rename = function () {
              document.title = this.getAttribute("title")
            }
        }"""
    )

    await site.publish(
        "chat", '<turbo-stream action="rename" title="new"></turbo-stream>'
    )

    await page.wait_for_function("() => document.title === 'new'")


async def mark_source(page: Page) -> None:
    await page.locator(SOURCE).evaluate("(source) => (source.isMarked = true)")


async def is_same_source(page: Page) -> bool:
    return bool(await page.locator(SOURCE).evaluate("(source) => source.isMarked"))
