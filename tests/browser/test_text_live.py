"""A text on the pages of a real server, in a browser."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import override_settings
from playwright.async_api import Page

from tests.browser.test_text import reads
from tests.browser.watching import connected
from tests.support.servers import PATIENCE, Valkey, channel_layer
from tests.testapp.streams import Announcements
from turbo.delivery.broadcast import flush, shut_down

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def server(
    valkey: Valkey, make_project: Callable[..., Any], uvicorn: Callable[..., Any]
) -> Iterator[Any]:
    """A server to whose pages this process broadcasts."""
    layers = {"default": channel_layer("redis", valkey.url)}
    with override_settings(CHANNEL_LAYERS=layers):
        yield uvicorn(make_project("redis"))
        shut_down(PATIENCE)


async def test_a_page_is_loaded_in_the_middle_and_goes_on(
    server: Any, page: Page
) -> None:
    """Character for character, with what HTML and JavaScript count otherwise."""
    await page.goto(f"{server.url}/text/")
    await connected(page)
    async with Announcements().text(id="answer") as text:
        await text.awrite("a < b\r\n😀")
        await reads(page, text.text)
        await page.reload()
        await reads(page, text.text)
        await connected(page)
        for number in range(500):
            await text.awrite(f"{number} é\n")
        await reads(page, text.text)
        await page.evaluate("TurboChannels.reconnect()")
        await text.awrite("end")
        await reads(page, text.text)
        text.finish(html="<p><b>done</b></p>")

    await reads(page, "done", "finished")
    assert await page.locator("#answer b").count() == 1
    await page.reload()
    await reads(page, "done", "finished")


async def test_a_page_goes_on_over_server_sent_events(server: Any, page: Page) -> None:
    async with Announcements().text(id="answer") as text:
        await text.awrite("before, ")
        await asyncio.to_thread(flush, PATIENCE)
        await page.goto(f"{server.url}/text/?transport=sse")
        await reads(page, "before, ")
        await text.awrite("and after")

    await reads(page, "before, and after", "finished")


async def test_a_progress_goes_on_after_a_reload(server: Any, page: Page) -> None:
    await page.goto(f"{server.url}/text/")
    await connected(page)
    async with Announcements().progress(id="job", total=1_000) as progress:
        for number in range(400):
            await progress.aadvance(note=f"Row {number}")
        await page.wait_for_selector("#job progress[value='400']")
        await page.reload()
        await page.wait_for_selector("#job progress[value='400'][max='1000']")
        await connected(page)
        await progress.aadvance(100)
        await page.wait_for_selector("#job progress[value='500']")

    await page.wait_for_selector("#job[data-state='finished'] progress[value='1000']")
    assert await page.locator("#job [data-note]").inner_text() == "Row 399"
