"""A revocation reaches every process, and outlasts reconnecting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import websockets

import turbo
from tests.support.clients import LivePage, connect
from tests.support.full import with_and_without_redis
from tests.testapp.streams import Announcements, Counter

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("same_layer")]


@with_and_without_redis
async def test_a_stream_is_revoked_on_two_processes_and_never_replayed(
    layer: str, make_project: Callable[..., Any], daphne: Callable[..., Any]
) -> None:
    project = make_project(layer)
    servers = [daphne(project), daphne(project)]
    stream, other = Announcements(), Counter(1)
    names = [stream.signed_stream_name, other.signed_stream_name]
    pages = [LivePage(server.ws_url, *names) for server in servers for _ in range(5)]
    await asyncio.gather(*(page.__aenter__() for page in pages))
    stream.append(text="before", id="x")
    await asyncio.gather(*(page.until(lambda p=page: bool(p.data)) for page in pages))

    turbo.revoke(stream=stream)
    await asyncio.gather(*(page.until(lambda p=page: bool(p.denied)) for page in pages))
    stream.append(text="after", id="x")
    other.append(text="other", id="x")
    await asyncio.gather(
        *(page.until(lambda p=page: len(p.data) == 2) for page in pages)
    )
    for page in pages:
        await page.__aexit__()

    assert all(page.denied == ["revoked"] for page in pages)
    assert all("other" in page.data[1] for page in pages)
    async with LivePage(servers[0].ws_url, names[0], since="?") as again:
        assert again.denied == ["revoked"]


async def test_an_origin_that_is_not_ours_is_not_let_in(
    layer: str, make_project: Callable[..., Any], daphne: Callable[..., Any]
) -> None:
    server = daphne(make_project(layer))
    evil: Any = "https://evil.example"

    with pytest.raises(websockets.InvalidStatus) as caught:
        await connect(f"{server.ws_url}/ws/", origin=evil)

    assert caught.value.response.status_code == 403
