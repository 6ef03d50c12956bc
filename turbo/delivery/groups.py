"""
The groups of the channel layer that one process has joined.

All streams of a process share one channel, so each group has one member per process,
and the layer carries each message once per process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from channels.layers import get_channel_layer

from turbo.conf import get_settings
from turbo.delivery.names import group_name
from turbo.delivery.topic import Topic
from turbo.exceptions import ConfigurationError

__all__ = ["Groups", "get_layer"]


def get_layer() -> Any:
    """Return the channel layer that carries the broadcasts."""
    alias = get_settings().channel_layer
    layer = get_channel_layer(alias)
    if layer is None:
        raise ConfigurationError(
            f"CHANNEL_LAYERS has no entry {alias!r}, so nothing can be broadcast. "
            f"Add one, or name another in TURBO['CHANNEL_LAYER']."
        )
    return layer


class Groups:
    """One channel and the groups that it was added to."""

    def __init__(self) -> None:
        self._channel = ""
        self._naming = asyncio.Lock()  # some layers ask Redis for a new channel

    async def receive(self) -> dict[str, Any]:
        """Return the next message for this process."""
        message: dict[str, Any] = await get_layer().receive(await self._own_channel())
        return message

    async def join(self, topics: Iterable[Topic]) -> None:
        """Join the groups of ``topics`` that have not been joined yet."""
        missing = [topic for topic in topics if not topic.joined]
        await asyncio.gather(*map(self._join, missing))

    async def join_again(self, topics: Iterable[Topic]) -> None:
        """Join all groups again, because the layer drops old members, or restarted."""
        for topic in topics:
            async with topic.lock:
                if topic.joined:
                    await self._add(topic)

    async def leave(self, topic: Topic) -> None:
        """Leave a topic's group, unless it has got a subscriber meanwhile."""
        async with topic.lock:
            if topic.idle and topic.joined:
                topic.joined = False
                topic.forget()
                group = group_name(topic.sid)
                await get_layer().group_discard(group, await self._own_channel())

    async def _join(self, topic: Topic) -> None:
        async with topic.lock:
            if topic.joined:
                return
            await self._add(topic)
            topic.joined = True

    async def _add(self, topic: Topic) -> None:
        await get_layer().group_add(group_name(topic.sid), await self._own_channel())

    async def _own_channel(self) -> str:
        async with self._naming:
            # With the layer's own prefix: while channels-redis waits for one prefix, it
            # does not read channels of other prefixes in this process.
            self._channel = self._channel or await get_layer().new_channel()
        return self._channel
