"""The client in bundles of the user's own, as the how-to guides build them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from django.template import engines
from playwright.async_api import Page

from tests.browser.scripted import STATIC, Site
from tests.browser.watching import connected, shows
from tests.support.documents import DOCS, Block

pytestmark = pytest.mark.browser

#: How often a file says what only Turbo says.
TURBO = r"""\.define\(["'`]turbo-frame["'`]"""


def render(block: Block) -> str:
    return engines["django"].from_string(block.code).render({})


def definitions(project: Path, requests: list[str]) -> int:
    """Count the definitions of Turbo's elements in the scripts that a page got."""
    scripts = [(project / path.removeprefix("/")).read_text() for path in requests]
    return sum(len(re.findall(TURBO, script)) for script in scripts)


async def state(page: Page) -> str | None:
    return await page.evaluate("document.documentElement.dataset.state")


@pytest.mark.parametrize("bundler", ["vite", "esbuild"])
async def test_a_bundle_connects_and_shows_messages(
    site: Site,
    page: Page,
    project: Path,
    follow: Callable[[Path], dict[str, Block]],
    bundler: str,
) -> None:
    found = follow(DOCS / f"howto/{bundler}.rst")
    head = render(found["templates/head.html"])
    site.static = project / "static"
    site.views["/"] = lambda: site.html("chat", head=head, scripts=())
    await page.goto(site.url())
    await connected(page)

    await site.publish("chat", "one")
    await shows(page, "one")

    assert await state(page) == "connected"
    assert site.static_requests == ["/static/site/main.js"]
    assert definitions(project, site.static_requests) == 1
    assert (project / "static/site/main.js.map").is_file()


@pytest.mark.parametrize("turbo", ["wheel", "npm"])
async def test_an_import_map_connects_and_shows_messages(
    site: Site,
    page: Page,
    project: Path,
    follow: Callable[[Path], dict[str, Block]],
    turbo: str,
) -> None:
    found = follow(DOCS / "howto/import-map.rst")
    head = render(found["templates/head.html"])
    site.static = project / "static"
    shutil.copytree(STATIC, site.static / "turbo")
    if turbo == "npm":
        build = project / "node_modules/@hotwired/turbo/dist/turbo.es2017-esm.js"
        shutil.copy(build, site.static / "site" / "turbo.js")
        head = head.replace("turbo/turbo.min.js", "site/turbo.js")
    site.headers["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self' 'nonce-r4nd0m'; connect-src 'self'; "
        "style-src 'unsafe-inline'"
    )
    head = head.replace('type="importmap"', 'type="importmap" nonce="r4nd0m"')
    site.views["/"] = lambda: site.html("chat", head=head, scripts=())
    await page.goto(site.url())
    await connected(page)

    await site.publish("chat", "one")
    await shows(page, "one")

    assert await state(page) == "connected"
    assert sorted(site.static_requests) == sorted(
        [
            "/static/site/main.js",
            "/static/site/turbo.js" if turbo == "npm" else "/static/turbo/turbo.min.js",
            "/static/turbo/turbo-channels.min.js",
        ]
    )
    assert definitions(project, site.static_requests) == 1


async def test_controllers_of_stimulus(
    site: Site,
    page: Page,
    project: Path,
    follow: Callable[[Path], dict[str, Block]],
) -> None:
    """They follow the state, and are connected to what a broadcast brings."""
    found = follow(DOCS / "howto/stimulus.rst")
    button = found["templates/state.html"].code
    site.static = project / "static"
    site.views["/"] = lambda: site.html("chat", body=button, scripts=("site/main.js",))
    await page.goto(site.url())
    await connected(page)

    await site.publish("chat", append_to_body(button))
    await page.wait_for_function(
        """() => {
            const buttons = [...document.querySelectorAll("[data-controller=state]")]
            return buttons.map((button) => button.textContent).join() ===
                "connected,connected"
        }"""
    )
    await page.locator("[data-controller=state]").last.click()
    await site.socket(2)

    await connected(page)
    assert definitions(project, site.static_requests) == 1


def append_to_body(html: str) -> str:
    return (
        '<turbo-stream action="append" targets="body">'
        f"<template>{html}</template></turbo-stream>"
    )
