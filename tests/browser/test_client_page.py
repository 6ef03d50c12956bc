"""The module and what else there is: Turbo early, late, twice or never; a policy."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

from tests.browser.scripted import Site
from tests.browser.watching import attribute, connected, events, record_events, shows

pytestmark = pytest.mark.browser

OURS = "turbo-channels.js"


async def test_module_has_one_global(site: Site, page: Page) -> None:
    site.show("/", "chat")
    site.views["/plain"] = lambda: site.html(scripts=())
    await page.goto(site.url("/plain"))
    before = await page.evaluate("Object.getOwnPropertyNames(window)")
    await page.goto(site.url())
    await connected(page)

    after = await page.evaluate("Object.getOwnPropertyNames(window)")

    # Elements with an id are there, too.
    assert set(after) - set(before) - {"chat"} == {"Turbo", "TurboChannels"}


async def test_careful_policy_is_not_violated(site: Site, page: Page) -> None:
    await page.add_init_script(
        """
        window.violations = []
        addEventListener("securitypolicyviolation", ({ violatedDirective }) => {
          window.violations.push(violatedDirective)
        })
        """
    )
    site.show("/", "chat")
    await page.goto(site.url())
    await connected(page)

    await site.publish("chat", "one")
    await shows(page, "one")
    await page.evaluate("Turbo.visit('/', { action: 'replace' })")
    await site.subscription("chat", 2)
    site.log["chat"].append("lost")
    await site.sockets[0].send({"type": "gap", "stream": "id-chat", "position": "e1:2"})
    await shows(page, "one", "lost")

    assert await page.evaluate("window.violations") == []


async def test_a_nonce_of_the_script_is_enough_for_what_it_imports(
    site: Site, page: Page
) -> None:
    site.headers["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'nonce-r4nd0m'; connect-src 'self'; "
        "style-src 'unsafe-inline'"
    )
    site.views["/"] = lambda: site.html("chat").replace(
        "<script", '<script nonce="r4nd0m"'
    )
    await page.goto(site.url())
    await connected(page)

    await site.publish("chat", "one")

    await shows(page, "one")


async def test_turbo_is_loaded_once(site: Site, page: Page) -> None:
    site.show("/", "chat")
    site.show("/other", "chat", body="<p id=other></p>")
    await page.goto(site.url())
    await connected(page)

    await page.evaluate("Turbo.visit('/other')")
    await page.wait_for_selector("#other", state="attached")

    assert sorted(site.static_requests) == [
        "/static/connection.js",
        "/static/edits.js",
        "/static/fields.js",
        "/static/merge.js",
        "/static/refresher.js",
        "/static/rendering.js",
        "/static/socket.js",
        "/static/turbo-channels.js",
        "/static/turbo.js",
    ]


async def test_turbo_may_come_after_the_module(site: Site, page: Page) -> None:
    site.views["/"] = lambda: site.html("chat", scripts=(OURS, "turbo.js"))
    await page.goto(site.url())
    await connected(page)

    await site.publish("chat", "one")

    await shows(page, "one")


async def test_messages_wait_for_a_turbo_that_comes_late(
    site: Site, page: Page
) -> None:
    site.views["/"] = lambda: site.html("chat", "room", scripts=(OURS,))
    await page.goto(site.url())
    await connected(page, 2)
    await site.publish("chat", "one", "two")
    assert await attribute(page, "since") == "e1:0"

    await page.evaluate(
        """() => {
            const script = document.createElement("script")
            script.type = "module"
            script.src = "/static/turbo.js"
            document.head.append(script)
        }"""
    )

    await shows(page, "one", "two")
    await site.publish("chat", "three")
    await shows(page, "one", "two", "three")


async def test_page_without_turbo_still_tells(site: Site, page: Page) -> None:
    site.views["/"] = lambda: site.html("chat", scripts=(OURS,))
    await record_events(page)
    await page.goto(site.url())
    await connected(page)

    await site.publish("chat", "one")
    socket = await site.socket()
    await socket.send({"type": "gap", "stream": "id-chat", "position": "e1:9"})
    await socket.close(1012)
    noted = await events(page, 4)

    kinds = [event["kind"] for event in noted]
    assert kinds == ["connected", "gap", "disconnected", "connected"]
    assert site.requests == ["/"]


async def test_module_under_two_addresses_works_once(site: Site, page: Page) -> None:
    scripts = ("turbo.js", OURS, f"{OURS}?again")
    site.views["/"] = lambda: site.html("chat", scripts=scripts)
    await page.goto(site.url())
    await connected(page)

    await site.publish("chat", "one")

    await shows(page, "one")
    assert len(site.sockets) == 1


async def test_address_of_the_socket_is_the_page_s_choice(
    site: Site, page: Page
) -> None:
    meta = '<meta name="turbo-channels-url" content="../live/ws/?lang=en">'
    site.show("/some/page", "chat", head=meta)

    await page.goto(site.url("/some/page"))
    await connected(page)

    assert (await site.socket()).path == "/live/ws/?lang=en"


async def test_source_without_a_name_asks_for_nothing(site: Site, page: Page) -> None:
    source = "<turbo-channels-stream-source></turbo-channels-stream-source>"
    site.show("/", "chat", body=source)

    await page.goto(site.url())
    await connected(page)

    assert len((await site.socket()).asked()) == 1


async def test_source_without_a_position_is_live_only(site: Site, page: Page) -> None:
    site.log["chat"] = ["before"]
    source = site.source("chat").replace(' since="@0.h"', "")
    site.views["/"] = lambda: site.html(body=source + '<ul id="chat"></ul>')
    await page.goto(site.url())
    await connected(page)

    await site.publish("chat", "live")

    await shows(page, "live")
    assert site.asked("chat")[0]["since"] == ""
