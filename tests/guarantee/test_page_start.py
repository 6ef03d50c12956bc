"""A page misses nothing between its view's first query and its subscription."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.support.clients import LivePage
from tests.support.full import IS_FULL, with_and_without_redis
from tests.support.servers import PATIENCE

pytestmark = pytest.mark.slow

PAGES = 1_000 if IS_FULL else 200
AT_ONCE = 20


def keys(html: str) -> list[int]:
    return [int(key) for key in re.findall(r'<li id="message-(\d+)">', html)]


async def render_and_subscribe(
    http: httpx.AsyncClient, ws_url: str, last: asyncio.Future[int]
) -> tuple[list[int], list[int]]:
    """Load the room, subscribe a little later, and stay until the last message."""
    html = (await http.get(f"/rooms/1/?wait={random.uniform(0, 0.03)}")).text
    signed, since = re.findall(r'signed-stream-name="(.+?)" since="(.+?)"', html)[0]
    await asyncio.sleep(random.uniform(0, 0.03))
    async with LivePage(ws_url, signed, since=since) as page:
        final = await last
        await page.until(lambda: final in keys(html + "".join(page.data)))
    assert page.gaps == 0, f"told of a gap since {since}"
    return keys(html), keys("".join(page.data))


@with_and_without_redis
async def test_no_message_is_missing_or_doubled_on_any_page(
    layer: str, make_project: Callable[..., Any], daphne: Callable[..., Any]
) -> None:
    server = daphne(make_project(layer))
    pages: list[tuple[list[int], list[int], int]] = []

    async def say(http: httpx.AsyncClient) -> int:
        return int((await http.get("/rooms/1/say/?text=x")).text)

    async def speak(http: httpx.AsyncClient, silent: asyncio.Event) -> None:
        # One that is cancelled goes on in its thread, and may come after the last.
        while not silent.is_set():
            await say(http)
            await asyncio.sleep(random.uniform(0, 0.02))

    async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as http:
        await say(http)
        for _ in range(PAGES // AT_ONCE):
            last = asyncio.get_running_loop().create_future()
            silent = asyncio.Event()
            speaking = asyncio.ensure_future(speak(http, silent))
            tasks = [
                asyncio.ensure_future(render_and_subscribe(http, server.ws_url, last))
                for _ in range(AT_ONCE)
            ]
            await asyncio.sleep(0.2)
            silent.set()
            await speaking
            last.set_result(await say(http))
            pages += [(*await task, last.result()) for task in tasks]

    assert len(pages) == PAGES
    missing = sum(
        len(set(range(shown[0], last + 1)) - {*shown, *heard})
        for shown, heard, last in pages
    )
    doubled = sum(len(heard) - len(set(heard)) for _, heard, _ in pages)
    assert (missing, doubled) == (0, 0)
