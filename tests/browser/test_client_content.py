"""Morphs, frames, and what messages bring into the page."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

from tests.browser.scripted import Site, append
from tests.browser.watching import (
    SOURCE,
    attribute,
    connected,
    fetched,
    let_pass,
    shows,
    turn_clock,
)

pytestmark = pytest.mark.browser

MORPH = '<meta name="turbo-refresh-method" content="morph">'


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

    await page.evaluate("Turbo.visit('/', { action: 'replace' })")
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
    release = site.hold("/")

    await page.evaluate("Turbo.visit('/', { action: 'replace' })")
    await site.requested("/", 2)
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

    await page.evaluate("Turbo.visit('/', { action: 'replace' })")
    await site.subscription("chat", 2)

    await shows(page, "one", "two")
    await site.publish("chat", "three")
    await shows(page, "one", "two", "three")


@pytest.mark.parametrize("body", ["<body>", '<body data-turbo="false">'])
async def test_refresh_in_a_stream_refreshes_once(
    site: Site, page: Page, body: str
) -> None:
    """
    A page out of a cache has the refresh again among what it missed.

    Whether Turbo handles the links and forms of the page makes no difference.
    """
    html = site.html("chat", head=MORPH).replace("<body>", body)
    site.views["/"] = lambda: html
    await turn_clock(page)
    await page.goto(site.url())
    await connected(page)

    await site.publish("chat", '<turbo-stream action="refresh"></turbo-stream>')
    await site.until(lambda: len(site.asked("chat")) == 5)
    await connected(page)
    await site.publish("chat", "end")
    await shows(page, "end")

    # Nothing is on its way: a refresh waits for 150 ms at most.
    await let_pass(page, seconds=2)
    assert await fetched(page) == ["/"] * 4


async def test_source_in_a_frame_starts_where_the_frame_does(
    site: Site, page: Page
) -> None:
    site.show("/", "chat", body='<turbo-frame id="part"></turbo-frame>')

    def part() -> str:
        inner = site.source("room") + site.listing("room")
        return f'<turbo-frame id="part">{inner}</turbo-frame>'

    site.views["/part"] = part
    release = site.hold("/part")
    await page.goto(site.url())
    await connected(page)

    await page.evaluate("document.querySelector('#part').src = '/part'")
    await site.requested("/part", 1)
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
    inner = site.source("room") + site.listing("room")

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


async def test_an_append_looks_at_no_other_rows(site: Site, page: Page) -> None:
    """Turbo looks at all of them, for each message, for one with the same id."""
    rows = "".join(f'<li id="row_{number}">{number}</li>' for number in range(500))
    body = f'{site.source("live")}<ul id="rows">{rows}</ul>'
    site.views["/"] = lambda: site.html(body=body)
    await page.goto(site.url())
    await connected(page)
    await page.evaluate(
        """() => {
            window.reads = 0
            const read = Element.prototype.getAttribute
            Element.prototype.getAttribute = function (name) {
              window.reads += 1
              return read.call(this, name)
            }
        }"""
    )

    def append(html: str) -> str:
        return (
            '<turbo-stream action="append" target="rows">'
            f"<template>{html}</template></turbo-stream>"
        )

    await site.publish("live", append('<li id="new">new</li>'))
    await site.publish("live", append('<li id="row_7">again</li><li>without</li>'))
    await page.wait_for_function(
        "() => document.querySelector('#rows').lastChild.textContent === 'without'"
    )

    assert await page.evaluate("window.reads") < 100
    assert await page.locator("#rows li").count() == 502
    assert await page.locator("#row_7").all_inner_texts() == ["again"]
