"""The minified files do what the modules do that they were made from."""

from __future__ import annotations

import pytest
from playwright.async_api import Page

from tests.browser.scripted import Site
from tests.browser.watching import connected, shows

pytestmark = pytest.mark.browser

MINIFIED = ("turbo.min.js", "turbo-channels.min.js")


async def test_a_page_resumes_and_refreshes_with_two_files(
    site: Site, page: Page
) -> None:
    site.views["/"] = lambda: site.html("chat", scripts=MINIFIED)
    await page.goto(site.url())
    await connected(page)

    await site.publish("chat", "one")
    await shows(page, "one")
    site.sockets[0].cut()
    await site.publish("chat", "missed")
    await shows(page, "one", "missed")
    site.log["chat"].append("lost")
    await site.sockets[1].send({"type": "gap", "stream": "id-chat", "position": "e1:3"})
    await shows(page, "one", "missed", "lost")

    files = sorted(f"/static/{name}" for name in MINIFIED)
    assert sorted(site.static_requests) == files
