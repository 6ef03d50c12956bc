"""A connection of the pub/sub layer that the kernel has given up is replaced."""

from __future__ import annotations

import asyncio
import errno

from django.test import override_settings

from tests.support.servers import PATIENCE, Valkey, channel_layer
from turbo.delivery.groups import Groups, get_layer
from turbo.delivery.names import EVERY, group_name


async def test_the_layer_reads_on_over_a_new_connection(valkey: Valkey) -> None:
    """Regression: the layer's task read without a pause, and the loop stood still."""
    layers = {"default": channel_layer("pubsub", valkey.url)}
    with override_settings(CHANNEL_LAYERS=layers):
        layer, groups = get_layer(), Groups(["s"])
        await groups.join(["s"])
        [shard] = layer._get_layer()._shards
        dead = TimeoutError(errno.ETIMEDOUT, "Connection timed out")
        shard._pubsub.connection._reader.set_exception(dead)  # as asyncio does

        receiving = asyncio.ensure_future(groups.receive())
        async with asyncio.timeout(PATIENCE):
            while not receiving.done():
                await layer.group_send(group_name(EVERY), {"type": "message"})
                await asyncio.wait([receiving], timeout=0.05)

        assert receiving.result() == {"type": "message"}
        await layer.flush()
