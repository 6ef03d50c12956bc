"""What a test looks at in a page, and what it waits for."""

from __future__ import annotations

import json
from typing import Any

from playwright.async_api import Page

from tests.support.firefox import FirefoxPage
from tests.support.servers import PATIENCE

SOURCE = "turbo-channels-stream-source"


async def texts(page: Page, stream: str = "chat") -> list[str]:
    """Return the items of a stream's list."""
    return await page.locator(f"#{stream} li").all_inner_texts()


async def shows(page: Page | FirefoxPage, *expected: str, stream: str = "chat") -> None:
    """Wait until a stream's list is exactly this."""
    await page.wait_for_function(
        """([id, expected]) => {
            const items = [...document.querySelectorAll(`#${id} li`)]
            return JSON.stringify(items.map((item) => item.textContent)) === expected
        }""",
        arg=[stream, _json(expected)],
        timeout=1_000 * PATIENCE,
    )


async def connected(page: Page | FirefoxPage, number: int = 1) -> None:
    """Wait until so many sources of the page are connected."""
    await page.wait_for_function(
        """([selector, number]) =>
            document.querySelectorAll(`${selector}[connected]`).length === number""",
        arg=[SOURCE, number],
        timeout=1_000 * PATIENCE,
    )


async def attribute(page: Page, name: str, *, stream: str = "chat") -> str | None:
    """Return an attribute of the source that stands before a stream's list."""
    return await page.locator(f"{SOURCE}:has(+ #{stream})").get_attribute(name)


async def record_events(page: Page) -> None:
    """Note every event of the sources of the pages that are opened from now on."""
    await page.add_init_script(
        """
        window.events = []
        for (const kind of ["connected", "disconnected", "gap", "denied"]) {
          addEventListener(`turbo-stream:${kind}`, ({ detail }) => {
            window.events.push({ kind, ...detail })
          })
        }
        """
    )


async def events(page: Page, number: int) -> list[dict[str, Any]]:
    """Wait for so many events and return all."""
    await page.wait_for_function("(n) => window.events.length >= n", arg=number)
    noted: list[dict[str, Any]] = await page.evaluate("window.events")
    return [
        {key: value for key, value in event.items() if value is not None}
        for event in noted
    ]


async def turn_clock(page: Page) -> None:
    """Give the page a clock that a test can put forward, and note what it fetches."""
    await page.clock.install()
    await page.add_init_script(
        """
        window.fetched = []
        const fetchNow = window.fetch
        window.fetch = (url, ...options) => {
          window.fetched.push(new URL(url, location.href).pathname)
          return fetchNow(url, ...options)
        }
        """
    )


async def let_pass(page: Page, seconds: int) -> None:
    """Run every timer of the page that is due within so many seconds."""
    await page.clock.run_for(1_000 * seconds)


async def fetched(page: Page) -> list[str]:
    """Return the paths that scripts of the page have asked for so far."""
    paths: list[str] = await page.evaluate("window.fetched")
    return paths


async def mark(page: Page) -> None:
    """Mark the document: a full page load would take the mark away."""
    await page.evaluate("window.marked = true")


async def is_marked(page: Page) -> bool:
    return bool(await page.evaluate("window.marked === true"))


def _json(items: tuple[str, ...]) -> str:
    return json.dumps(items, separators=(",", ":"), ensure_ascii=False)
