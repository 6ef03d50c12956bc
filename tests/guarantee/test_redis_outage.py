"""Redis may go, and come back empty: requests go on, and every page heals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from tests.support.clients import LivePage
from tests.testapp.streams import Counter

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("same_layer")]


async def test_redis_killed_and_restarted_empty_among_2000_messages(
    layer: str,
    valkey: Any,
    make_project: Callable[..., Any],
    daphne: Callable[..., Any],
) -> None:
    """Every page has each message after its last gap, as a fresh one does."""
    server = daphne(make_project(layer))
    streams = [Counter(n) for n in range(10)]
    pages = [
        LivePage(server.ws_url, streams[n % 10].signed_stream_name) for n in range(50)
    ]
    await asyncio.gather(*(page.__aenter__() for page in pages))

    for n in range(200):
        for stream in streams:
            stream.append(text=str(n), id="list")
        await asyncio.sleep(0.02)
        if n == 80:
            await sync_to_async(valkey.kill)()
        if n == 120:
            await sync_to_async(valkey.start)()
    last = ">199<"
    await asyncio.gather(
        *(page.until(lambda p=page: last in (p.data or [""])[-1]) for page in pages)
    )
    for page in pages:
        await page.__aexit__()

    assert all(page.gaps for page in pages)
    assert sum(page.doubled for page in pages) == 0
    said = [line for line in server.log().splitlines() if " ERROR " in line]
    assert len([line for line in said if "be reached" in line]) <= 1
