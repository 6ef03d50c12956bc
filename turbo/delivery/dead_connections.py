"""
Connections of ``RedisPubSubChannelLayer`` that the kernel has given up.

Such a connection raises ``TimeoutError``. redis-py takes this for the end of the time
that it may wait for a message, and returns at once. So the layer's task, which reads in
a loop, would never wait again: the event loop of the process would stand still, and its
memory would grow.

It may also believe to be subscribed to a channel from which nothing comes any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any

from turbo.runtime.tasks import detach

__all__ = ["subscribe_again", "watch_connections"]


def watch_connections(layer: Any) -> None:
    """Let the layer replace the dead connections of the running event loop."""
    for shard in _shards(layer):
        if "_receive_message" not in vars(shard):
            # It is called with each message, and with None if none has come.
            shard._receive_message = partial(_receive, shard)


async def subscribe_again(layer: Any) -> None:
    """Subscribe to all channels, although the layer believes to have done so."""
    for shard in _shards(layer):
        async with shard._lock:
            if shard._subscribed_to:
                await shard._pubsub.subscribe(*shard._subscribed_to)


def _shards(layer: Any) -> Iterable[Any]:
    """Return the layer's connections of the running event loop, if it has any."""
    of_loop = getattr(layer, "_get_layer", None)
    shards: Iterable[Any] = getattr(of_loop(), "_shards", ()) if of_loop else ()
    return shards


def _receive(shard: Any, message: Any) -> None:
    if message is not None:
        type(shard)._receive_message(shard, message)
        return
    connection = shard._pubsub.connection
    reader: asyncio.StreamReader | None = getattr(connection, "_reader", None)
    error = None if reader is None else reader.exception()
    if error is not None:
        detach(connection.disconnect(nowait=True))
        # The layer logs this, and waits for a second before it reads on.
        raise ConnectionError(f"Redis cannot be reached: {error}") from error
