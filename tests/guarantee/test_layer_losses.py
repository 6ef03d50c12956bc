"""What the channel layer drops, the replay log makes good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import override_settings

import turbo
from tests.support.clients import LivePage
from tests.support.servers import channel_layer
from tests.testapp.streams import Announcements, Counter
from turbo.delivery.broadcast import shut_down

pytestmark = pytest.mark.slow


def number(html: str) -> int:
    return int(html.split("<template>")[1].split("<")[0])


def tight_layer(url: str, **config: Any) -> dict[str, Any]:
    layer = channel_layer("redis", url)
    return {"default": {**layer, "CONFIG": {**layer["CONFIG"], **config}}}


async def test_a_burst_over_the_capacity_arrives_in_order_once(
    valkey: Any, make_project: Callable[..., Any], daphne: Callable[..., Any]
) -> None:
    layers = tight_layer(valkey.url, capacity=10)
    server = daphne(make_project("redis", CHANNEL_LAYERS=layers, TURBO=LONG))
    with override_settings(CHANNEL_LAYERS=layers, TURBO=LONG):
        async with LivePage(server.ws_url, *SIGNED) as page:
            for n in range(1000):
                STREAMS[n % 20].append(text=str(n), id="list")
                if n % 50 == 49:  # each piece goes out by itself: 20 sends at once
                    await sync_to_async(turbo.flush)()
            await page.until(lambda: len(page.data) >= 1000)
        shut_down(5)

    heard = list(map(number, page.data))
    assert sorted(heard) == list(range(1000))
    for n in range(20):
        assert [m for m in heard if m % 20 == n] == list(range(n, 1000, 20))
    assert (page.doubled, page.gaps) == (0, 0)


STREAMS = [Counter(n) for n in range(20)]
SIGNED = [stream.signed_stream_name for stream in STREAMS]
LONG = {"TIP_INTERVAL": 1}


async def test_a_layer_that_forgets_its_members_still_delivers(
    valkey: Any, make_project: Callable[..., Any], daphne: Callable[..., Any]
) -> None:
    layers = tight_layer(valkey.url, group_expiry=2)
    server = daphne(make_project("redis", CHANNEL_LAYERS=layers))
    stream = Announcements()
    with override_settings(CHANNEL_LAYERS=layers):
        async with LivePage(server.ws_url, stream.signed_stream_name) as page:
            await renewed(valkey, times=3)
            stream.append(text="1", id="list")
            await page.until(lambda: bool(page.data))
        shut_down(5)

    assert (list(map(number, page.data)), page.gaps) == ([1], 0)


async def renewed(valkey: Any, *, times: int) -> None:
    """Return when each group's members have been added again so often."""
    with valkey.client() as client:

        def joined() -> dict[str, str]:
            """Return when the members of each group were added."""
            groups = client.keys("asgi:group:*")
            return {g: str(client.zrange(g, 0, -1, withscores=True)) for g in groups}

        for _ in range(times):
            before = joined()
            while before.items() & joined().items():  # noqa: ASYNC110 - in Redis
                await asyncio.sleep(0.05)


async def test_a_lost_last_message_is_found_by_comparing_tips(
    valkey: Any, make_project: Callable[..., Any], daphne: Callable[..., Any]
) -> None:
    """The message is in the log and never crosses the layer: it was lost on the way."""
    layers = {"default": channel_layer("redis", valkey.url)}
    server = daphne(make_project("redis", TURBO=LONG))
    stream = Announcements()
    elsewhere = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    log = {
        "REPLAY_BACKEND": "turbo.replay.redis.RedisReplay",
        "REPLAY_HOSTS": layers["default"]["CONFIG"]["hosts"],
    }
    with override_settings(CHANNEL_LAYERS=elsewhere, TURBO=log):
        async with LivePage(server.ws_url, stream.signed_stream_name) as page:
            stream.append(text="7", id="list")
            await page.until(lambda: bool(page.data))
        shut_down(5)

    assert (list(map(number, page.data)), page.gaps) == ([7], 0)
