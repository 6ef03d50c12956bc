"""Nothing is lost between two connections, and nothing comes twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async

import turbo
from tests.support.clients import LivePage
from tests.support.full import with_and_without_redis, with_redis_or_postgres
from tests.support.servers import PATIENCE
from tests.testapp.streams import Announcements, Counter

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("same_layer")]


def number(html: str) -> int:
    return int(html.split("<template>")[1].split("<")[0])


@with_redis_or_postgres
async def test_pages_that_are_cut_off_again_and_again_get_everything_once(
    layer: str, make_project: Callable[..., Any], daphne: Callable[..., Any]
) -> None:
    """200 pages, each cut every few seconds and away for a second, 600 messages."""
    server = daphne(make_project(layer))
    streams = [Counter(n) for n in range(20)]
    pages = [
        LivePage(server.ws_url, streams[n % 20].signed_stream_name) for n in range(200)
    ]
    for page in pages:
        page.away = 1.0
    await asyncio.gather(*(page.__aenter__() for page in pages))

    async def cut(page: LivePage) -> None:
        while True:
            await asyncio.sleep(random.uniform(1, 4))
            page.cut()

    cutters = [asyncio.ensure_future(cut(page)) for page in pages]
    for n in range(30):
        for stream in streams:
            stream.append(text=str(n), id="list")
        await asyncio.sleep(0.3)
    for cutter in cutters:
        cutter.cancel()
    await asyncio.gather(
        *(page.until(lambda p=page: len(p.data) >= 30) for page in pages)
    )
    for page in pages:
        await page.__aexit__()

    assert [list(map(number, page.data)) for page in pages] == [list(range(30))] * 200
    assert sum(page.doubled + page.gaps for page in pages) == 0


@with_and_without_redis
async def test_a_rolling_restart_of_two_servers_loses_nothing(
    layer: str, make_project: Callable[..., Any], daphne: Callable[..., Any]
) -> None:
    project = make_project(layer)
    servers = [daphne(project), daphne(project)]
    urls = [server.ws_url for server in servers]
    signed = Announcements().signed_stream_name
    pages = [LivePage([*urls[n % 2 :], *urls[: n % 2]], signed) for n in range(20)]
    await asyncio.gather(*(page.__aenter__() for page in pages))

    async def speak() -> None:
        for n in range(300):
            Announcements().append(text=str(n), id="list")
            await asyncio.sleep(0.03)
            for page in pages:  # who lags behind further than the history has a gap
                await page.until(lambda p=page, n=n: len(p.data) > n - 50)

    speaking = asyncio.ensure_future(speak())
    for server in servers:
        await asyncio.sleep(1)
        await sync_to_async(server.stop)()
        await sync_to_async(server.start)()
    await speaking
    await asyncio.gather(
        *(page.until(lambda p=page: len(p.data) >= 300) for page in pages)
    )
    for page in pages:
        await page.__aexit__()

    assert [list(map(number, page.data)) for page in pages] == [list(range(300))] * 20
    assert sum(page.gaps for page in pages) == 0
    assert {code for page in pages for code in page.codes} <= {1012, 1006, None}


@with_and_without_redis
async def test_what_lies_beyond_the_history_is_a_gap(
    layer: str, make_project: Callable[..., Any], daphne: Callable[..., Any]
) -> None:
    server = daphne(make_project(layer))
    page = LivePage(server.ws_url, Announcements().signed_stream_name)
    async with page:
        page.may_return.clear()
        page.cut()
        for n in range(101):
            Announcements().append(text=str(n), id="list")
        assert await sync_to_async(turbo.flush)(PATIENCE)
        page.may_return.set()
        await page.until(lambda: page.gaps == 1)
        Announcements().append(text="101", id="list")
        await page.until(lambda: bool(page.data))

    assert list(map(number, page.data)) == [101]
