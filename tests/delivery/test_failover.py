"""A layer whose master became a replica is used again, through its new master."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.test import override_settings
from redis.exceptions import ReadOnlyError

from tests.support.proxies import Proxy
from tests.support.servers import PATIENCE, Valkey, channel_layer
from turbo.delivery.broadcast import broadcast, flush, shut_down
from turbo.delivery.frame import Frame
from turbo.delivery.groups import Groups
from turbo.delivery.hub import get_hub
from turbo.delivery.names import stream_id
from turbo.observers.connection.groups import LayerGroups
from turbo.replay import get_replay

NAME = "tests:Stream"
#: The tips of the log are not compared: only the layer tells of messages.
NEVER = {"TIP_INTERVAL": 3_600, "HEARTBEAT": 3_600}

pytestmark = pytest.mark.slow


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path)
    server.command += ["--repl-diskless-sync-delay", "0"]
    server.start()
    yield server
    server.kill()


@pytest_asyncio.fixture
async def proxy(valkey: Valkey) -> AsyncIterator[Proxy]:
    """The address of the layer and the log, which moves to the new master."""
    async with Proxy(valkey.port) as proxy:
        layers = {"default": channel_layer("redis", proxy.url)}
        with override_settings(CHANNEL_LAYERS=layers, TURBO=NEVER):
            yield proxy
            await get_replay().aclose()
            await sync_to_async(shut_down)()


@pytest.fixture(autouse=True)
def _master_again(valkey: Valkey) -> Iterator[None]:
    yield
    with valkey.client() as client:
        client.replicaof("NO", "ONE")


def fail_over(proxy: Proxy, old: Valkey, new: Valkey) -> None:
    """Make ``old`` a replica, which keeps its connections."""
    proxy.upstream = new.port
    with old.client() as client:
        client.replicaof("127.0.0.1", new.port)


class Page:
    """A connection that keeps what it is told."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[str] = asyncio.Queue()

    def deliver(self, frame: Frame) -> None:
        fields = json.loads(frame.text)
        self.heard.put_nowait(fields.get("data") or fields["type"])

    def apply_revocation(self, revocation: str | None) -> None:
        pass

    async def until(self, wanted: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while await self.heard.get() != wanted:
                pass


async def test_a_layer_leaves_a_master_that_became_a_replica(
    proxy: Proxy, valkey: Valkey, second: Valkey
) -> None:
    """Its connections stay open, and nothing can be written through them."""
    page, hub = Page(), get_hub()
    hub.connect(page)
    hub.settle(await hub.subscribe(page, [(stream_id(NAME), "")]))
    await sync_to_async(broadcast)(NAME, "a")
    await page.until("a")

    fail_over(proxy, valkey, second)
    await sync_to_async(broadcast)(NAME, "b")
    await page.until("gap")

    await sync_to_async(broadcast)(NAME, "c")
    await page.until("c")
    assert await sync_to_async(flush)(PATIENCE)
    await hub.disconnect(page)


async def test_a_group_that_the_replica_refuses_is_joined_at_the_next_attempt(
    proxy: Proxy, valkey: Valkey, second: Valkey
) -> None:
    """Regression: a connection that was busy meanwhile refused for ever."""
    groups = Groups({"a"})
    await groups.join(["a"])
    fail_over(proxy, valkey, second)

    with pytest.raises(ReadOnlyError):
        await groups.renew(["a"])
    await groups.renew(["a"])


async def test_a_consumer_joins_a_group_through_the_new_master(
    proxy: Proxy, valkey: Valkey, second: Valkey
) -> None:
    groups = LayerGroups(object(), None)
    await groups.add("a")
    fail_over(proxy, valkey, second)

    with suppress(ReadOnlyError):
        await groups.add("b")
    await groups.add("b")
    await groups.close()
