"""What the channel layer drops, the replay log makes good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.layers import get_channel_layer
from channels_redis.core import RedisChannelLayer
from django.test import override_settings

import turbo
from tests.support.clients import LivePage
from tests.support.servers import PATIENCE, channel_layer
from tests.testapp.streams import Announcements, Counter
from turbo import metrics
from turbo.delivery.broadcast import shut_down
from turbo.delivery.frame import Frame
from turbo.delivery.hub import get_hub
from turbo.delivery.names import EVERY, group_name
from turbo.runtime.backoff import Backoff

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


async def test_a_membership_that_was_lost_is_there_again_after_a_comparison(
    valkey: Any, make_project: Callable[..., Any], daphne: Callable[..., Any]
) -> None:
    """As when a command to leave the group arrives after the one to join it."""
    layers = {"default": channel_layer("redis", valkey.url)}
    server = daphne(make_project("redis", TURBO=LONG))
    stream = Announcements()
    group = f"asgi:group:{group_name(EVERY)}"
    with override_settings(CHANNEL_LAYERS=layers):
        async with LivePage(server.ws_url, stream.signed_stream_name) as page:
            with valkey.client() as client:
                [member] = client.zrange(group, 0, -1)
                assert client.zrem(group, member)
                while not client.zscore(group, member):  # noqa: ASYNC110 - in Redis
                    await asyncio.sleep(0.05)
            stream.append(text="7", id="list")
            await page.until(lambda: bool(page.data))
        shut_down(5)

    assert (list(map(number, page.data)), page.gaps) == ([7], 0)


async def test_a_subscription_that_the_layer_believes_to_have_is_made_again(
    valkey: Any, same_layer: None
) -> None:
    hub, page = get_hub(), Listener()
    sid = Announcements().stream_id
    hub.connect(page)
    hub.settle(await hub.subscribe(page, [(sid, "")]))
    await unsubscribe_behind_the_layer(group_name(EVERY))

    Announcements().append(text="1", id="list")
    await sync_to_async(turbo.flush)()
    await hub._check_groups()
    await page.until(1)
    before = metrics.counters()["repaired"]
    Announcements().append(text="2", id="list")
    await page.until(2)

    assert metrics.counters()["repaired"] == before
    await hub.disconnect(page)


class Listener:
    """A connection in this process."""

    def __init__(self) -> None:
        self.heard = 0
        self._has_heard = asyncio.Event()

    def deliver(self, frame: Frame) -> None:
        self.heard += '"message"' in frame.text
        self._has_heard.set()

    def apply_revocation(self, revocation: str | None) -> None:
        """Have no permissions."""

    async def until(self, heard: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.heard < heard:
                self._has_heard.clear()
                await self._has_heard.wait()


async def unsubscribe_behind_the_layer(group: str) -> None:
    layer = get_channel_layer()
    if isinstance(layer, RedisChannelLayer):
        await layer.group_discard(group, get_hub()._groups.channel)
        return
    loop_layer = layer._get_layer()
    name = loop_layer._get_group_channel_name(group)
    await loop_layer._get_shard(name)._pubsub.unsubscribe(name)


@pytest.mark.parametrize("layer", ["redis"])  # the other one leaks sockets in here
async def test_who_leaves_while_redis_is_away_leaves_nothing_for_ever(
    layer: str, valkey: Any, same_layer: None
) -> None:
    hub, page = get_hub(), Listener()
    stream = Announcements()
    hub.connect(page)
    hub.settle(await hub.subscribe(page, [(stream.stream_id, "")]))
    valkey.kill()

    hub.unsubscribe(page, [stream.stream_id])
    assert stream.stream_id not in hub.subscribers()
    async with asyncio.timeout(PATIENCE):
        while hub._leaving:  # noqa: ASYNC110 - the hub tells nobody
            await asyncio.sleep(0.05)
    valkey.start()

    arrive = partial(hub.subscribe, page, [(stream.stream_id, "")])
    hub.settle(await Backoff().until_done(arrive))
    stream.append(text="1", id="list")
    await page.until(1)
    await hub.disconnect(page)
