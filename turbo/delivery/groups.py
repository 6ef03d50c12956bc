"""
The channel of one process, and the groups of the channel layer that it has joined.

All streams of a process share one channel, so the layer carries each message once per
process. If the replay log knows which process shows which stream, messages come by the
channel, and the process joins one group, for those that all processes get. Otherwise it
joins the group of each stream.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Container, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from weakref import WeakValueDictionary

from channels.layers import get_channel_layer

from turbo.conf import get_settings
from turbo.delivery.dead_connections import subscribe_again, watch_connections
from turbo.delivery.names import EVERY, group_name
from turbo.exceptions import ConfigurationError
from turbo.replay import get_replay
from turbo.replay.base import RoutingLog

__all__ = ["Groups", "get_layer", "reconnect", "reconnecting"]

#: Seconds after which the attempt to leave a group is given up.
PATIENCE = 5.0


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


async def reconnect(layer: Any) -> None:
    """
    Close the idle connections of a layer of channels-redis, after an error.

    They may be dead. Or they lead to a server that has become a replica: it keeps them,
    and refuses for ever what is sent, although the address leads to another master now.
    """
    for index in range(getattr(layer, "ring_size", 0)):
        pool = layer.connection(index).connection_pool
        with suppress(Exception):
            await pool.disconnect(inuse_connections=False)


@asynccontextmanager
async def reconnecting(layer: Any) -> AsyncIterator[None]:
    """Let the layer connect anew after an exception, which is raised."""
    try:
        yield
    except Exception:
        await reconnect(layer)
        raise


class Groups:
    """
    One channel and the groups that it was added to.

    ``wanted`` has the ids of the streams whose groups are to be joined; it may change.
    """

    def __init__(self, wanted: Container[str]) -> None:
        self._wanted = wanted
        #: The name of the channel, once it has one.
        self.channel = ""
        self._naming = asyncio.Lock()  # some layers ask Redis for a new channel
        self._joined: set[str] = set()
        # Each is held while a group is joined or left.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def receive(self) -> dict[str, Any]:
        """Return the next message for this process."""
        message: dict[str, Any] = await get_layer().receive(await self._own_channel())
        return message

    async def join(self, sids: Sequence[str]) -> None:
        """Join the groups that have not been joined yet; none is being left then."""
        missing = [sid for sid in _groups(sids) if sid not in self._joined]
        await asyncio.gather(*map(self._join, missing))
        for lock in [self._locks.get(sid) for sid in sids]:
            if lock is not None:
                async with lock:
                    pass

    async def join_again(self, sids: Sequence[str]) -> None:
        """Join groups again, because the layer drops old members, or restarted."""
        for sid in _groups(sids):
            async with self._lock(sid):
                if self._is_wanted(sid):
                    await self._add(sid)
                    self._joined.add(sid)

    async def renew(self, sids: Sequence[str]) -> None:
        """Join groups anew, because a message did not arrive."""
        if isinstance(get_replay(), RoutingLog):
            # Nothing is left meanwhile, or messages of all streams would be lost.
            if sids:
                async with reconnecting(layer := get_layer()):
                    await subscribe_again(layer)
            await self.join_again(sids)
            return
        for sid in sids:
            async with self._lock(sid):
                if self._is_wanted(sid):
                    # Without this, a layer that believes to be subscribed does nothing.
                    self._joined.discard(sid)
                    await self._discard(sid)
                    await self._add(sid)
                    self._joined.add(sid)

    async def leave(self, sid: str) -> None:
        """
        Leave a group, unless it is wanted again.

        If the layer cannot be reached within ``PATIENCE``, this is given up.
        """
        async with self._lock(sid):
            if sid in self._wanted:
                return
            self._joined.discard(sid)
            async with asyncio.timeout(PATIENCE):
                if isinstance(log := get_replay(), RoutingLog):
                    await log.hide(sid, self.channel)
                else:
                    await self._discard(sid)

    async def close(self) -> None:
        """Leave the group of all processes, or give it up after ``PATIENCE``."""
        async with self._lock(EVERY):
            if EVERY in self._joined:
                self._joined.discard(EVERY)
                async with asyncio.timeout(PATIENCE):
                    await self._discard(EVERY)

    def _is_wanted(self, sid: str) -> bool:
        return sid == EVERY or sid in self._wanted

    async def _join(self, sid: str) -> None:
        async with self._lock(sid):
            if sid not in self._joined:
                await self._add(sid)
                self._joined.add(sid)

    async def _add(self, sid: str) -> None:
        async with reconnecting(layer := get_layer()):
            await layer.group_add(group_name(sid), await self._own_channel())

    async def _discard(self, sid: str) -> None:
        async with reconnecting(layer := get_layer()):
            await layer.group_discard(group_name(sid), await self._own_channel())

    def _lock(self, sid: str) -> asyncio.Lock:
        return self._locks.setdefault(sid, asyncio.Lock())

    async def _own_channel(self) -> str:
        async with self._naming:
            # With the layer's own prefix: while channels-redis waits for one prefix, it
            # does not read channels of other prefixes in this process.
            if not self.channel:
                self.channel = await get_layer().new_channel()
                watch_connections(get_layer())
        return self.channel


def _groups(sids: Sequence[str]) -> Sequence[str]:
    """Return the groups through which messages of the streams come."""
    return [EVERY] * bool(sids) if isinstance(get_replay(), RoutingLog) else sids
