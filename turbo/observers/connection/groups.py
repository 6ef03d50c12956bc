"""
Groups of the channel layer, for consumers that send messages to each other.

The library itself sends nothing through them. A consumer that joins no group, and does
not mention ``channel_name``, has no channel and no task that reads one.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from functools import partial
from typing import Any

from channels.layers import get_channel_layer

from turbo.conf import get_settings
from turbo.delivery.groups import reconnecting
from turbo.delivery.hub import IN_A_ROW
from turbo.delivery.unreadable import drop, is_about_content
from turbo.exceptions import ConfigurationError
from turbo.runtime.backoff import Backoff, OutageLog

__all__ = ["LayerGroups"]

logger = logging.getLogger("turbo.observers")

#: Seconds after which groups are joined again, because channel layers forget members.
JOIN_AGAIN = 3_600.0
#: Seconds after which the attempt to leave all groups is given up.
PATIENCE = 5.0

#: Common to all consumers, so that an outage is logged once.
_outage = OutageLog(
    logger,
    down="The channels of consumers cannot be reached: %(type)s: %(error)s",
    up="The channels of consumers can be reached again.",
)


class LayerGroups:
    """The channel of one consumer, made when it needs one."""

    def __init__(self, consumer: Any, alias: str | None) -> None:
        self.names: set[str] = set()
        self.channel = ""
        self._consumer = consumer
        self._alias = alias
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Make the channel, and call the consumer for its messages."""
        if not self.channel:
            self.channel = await self.layer.new_channel()
        if self._task is None:
            self._task = asyncio.ensure_future(self._listen())

    @property
    def alias(self) -> str:
        """Return the key of the layer in ``CHANNEL_LAYERS``."""
        return self._alias or get_settings().channel_layer

    @property
    def exists(self) -> bool:
        """Return whether there is a channel layer."""
        return get_channel_layer(self.alias) is not None

    @property
    def layer(self) -> Any:
        """Return the channel layer."""
        layer = get_channel_layer(self.alias)
        if layer is None:
            raise ConfigurationError(
                f"CHANNEL_LAYERS has no entry {self.alias!r}, so no group can be "
                f"joined."
            )
        return layer

    async def add(self, name: str) -> None:
        """Join a group."""
        await self.open()
        if name not in self.names:
            await self._join(name)
            self.names.add(name)

    async def remove(self, name: str) -> None:
        """Leave a group."""
        if name in self.names:
            self.names.discard(name)
            async with reconnecting(layer := self.layer):
                await layer.group_discard(name, self.channel)

    async def close(self) -> None:
        """Leave all groups."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        leaving = (self.remove(name) for name in list(self.names))
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*leaving, return_exceptions=True)

    async def _listen(self) -> None:
        backoff, unreadable = Backoff(), Backoff(free=IN_A_ROW)
        while True:
            try:
                async with asyncio.timeout(JOIN_AGAIN):
                    message = await self.layer.receive(self.channel)
            except Exception as error:
                if is_about_content(error):
                    drop("on the channel of a consumer", repr(error))
                    await asyncio.sleep(unreadable.fail())
                    continue
                # The timeout of Redis' client, another class, is no outage either.
                if type(error).__name__ != "TimeoutError":
                    _outage.down(error)
                    await asyncio.sleep(backoff.fail())
                await Backoff().until_done(self._join_again, outage=_outage)
            else:
                backoff.reset()
                unreadable.reset()
                self._dispatch(message)

    async def _join_again(self) -> None:
        for name in list(self.names):
            if name in self.names:  # unless the consumer has left it meanwhile
                await self._join(name)

    async def _join(self, name: str) -> None:
        async with reconnecting(layer := self.layer):
            await layer.group_add(name, self.channel)

    def _dispatch(self, message: Any) -> None:
        kind = message.get("type") if isinstance(message, dict) else None
        name = kind.replace(".", "_") if isinstance(kind, str) else ""
        handler = getattr(self._consumer, name, None) if name else None
        if name.startswith("_") or not callable(handler):
            drop("A consumer has no method for a message", repr(name or message))
            return
        self._consumer.turns.put(partial(handler, message))
