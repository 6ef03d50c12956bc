"""The single subscription to Redis of a process that serves sockets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

from channels_redis.utils import create_pool
from redis.asyncio import Redis

from turbo.runtime.backoff import Backoff, OutageLog
from turbo.runtime.redis.options import connection_options

__all__ = ["BREAK", "hear"]

logger = logging.getLogger("turbo.pubsub")

#: Seconds without a message after which Redis is pinged.
QUIET = 10.0
#: Seconds to wait for the answer to a ping.
PATIENCE = 5.0

#: Yielded instead of a text when a subscription begins; earlier messages are missing.
BREAK = None


async def hear(host: Mapping[str, Any], channel: str) -> AsyncIterator[str | None]:
    """
    Yield the messages published on ``channel``, without end.

    :data:`BREAK` is yielded whenever the subscription begins. If the connection breaks,
    this is logged once, and the subscription is made again after a pause.
    """
    outage = OutageLog(
        logger,
        down="Changes cannot be received: %(type)s: %(error)s",
        up="Changes are received again.",
    )
    backoff = Backoff()
    while True:
        try:
            async for text in _hear_once(host, channel):
                backoff.reset()
                outage.up()
                yield text
        except Exception as error:
            outage.down(error)
            await asyncio.sleep(backoff.fail())


async def _hear_once(
    host: Mapping[str, Any], channel: str
) -> AsyncIterator[str | None]:
    client = Redis(connection_pool=create_pool(connection_options(host)))
    pubsub = client.pubsub()
    try:
        await pubsub.subscribe(channel)
        asked = False
        while True:
            timeout = PATIENCE if asked else QUIET
            message = await pubsub.get_message(timeout=timeout)
            if message is not None:
                asked = False
                if message["type"] == "subscribe":
                    yield BREAK
                elif message["type"] == "message":
                    yield message["data"]
            elif asked:
                raise TimeoutError(f"Redis did not answer within {PATIENCE:g} s")
            else:
                asked = True
                await pubsub.ping()
    finally:
        with suppress(Exception):
            await pubsub.aclose()  # type: ignore[no-untyped-call]
            await client.connection_pool.disconnect()
