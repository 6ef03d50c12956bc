"""The channel layer in the database."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any, ClassVar

import msgpack
from channels.layers import BaseChannelLayer

from turbo.conf import get_settings
from turbo.database.listen import LayerListener
from turbo.database.loop_channels import LoopChannels
from turbo.database.messages import LayerRow, Messages
from turbo.database.thread import DatabaseThread
from turbo.runtime.loops import PerLoop
from turbo.runtime.tasks import detach

__all__ = ["DatabaseLayer"]

#: What a row of the table is: a message to a channel or to a group, or the wish that
#: the process of a channel adds it to a group, or removes it.
SEND, GROUP, JOIN, LEAVE = "=*+-"


class DatabaseLayer(BaseChannelLayer):  # type: ignore[misc]
    """
    A channel layer in the tables of ``turbo.database``.

    A message is one row, which every process reads. ``poll`` is the number of seconds
    between two looks for messages, where the database does not notify of them. With
    ``listen=False`` it is not asked to.
    """

    extensions: ClassVar[Sequence[str]] = ("groups", "flush")

    def __init__(
        self,
        *,
        alias: str | None = None,
        prefix: str = "asgi",
        poll: float = 0.05,
        listen: bool = True,
        expiry: float = 60,
        group_expiry: float = 86_400,
        capacity: int = 10_000,
        channel_capacity: dict[Any, int] | None = None,
    ) -> None:
        super().__init__(expiry, capacity, channel_capacity)
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self.group_expiry = group_expiry
        alias = get_settings().database if alias is None else alias
        self._prefix = f"{prefix}:"
        self._messages = Messages(alias, expiry=expiry)
        self._thread = DatabaseThread("turbo-layer", alias)
        self._loops: PerLoop[LoopChannels] = PerLoop(self._make_channels)
        self._listener = LayerListener(
            alias,
            self._messages,
            poll=poll,
            listen=listen,
            wanted=self._open_loops,
            receive=self._receive,
            lose=self._lose,
        )

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send a message to one channel."""
        assert isinstance(message, dict), "a message is a dict"
        self.require_valid_channel_name(channel)
        await self._add(SEND, channel, msgpack.packb(message))

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to all channels of a group, with one row."""
        assert isinstance(message, dict), "a message is a dict"
        self.require_valid_group_name(group)
        await self._add(GROUP, group, msgpack.packb(message))

    async def receive(self, channel: str) -> dict[str, Any]:
        """
        Return the next message of a channel.

        Several processes may receive from one whose name has no ``!``. If messages were
        lost, this raises :exc:`ConnectionError`.
        """
        self.require_valid_channel_name(channel)
        channels = await self._started()
        if channels.owns(channel):
            return _unpack(await channels.get(channel))
        address, news = f"{SEND}{self._prefix}{channel}", channels.news(channel)
        while True:
            news.clear()
            content = await self._thread.arun(self._messages.take_first, address)
            if content is not None:
                return _unpack(content)
            await news.wait()

    async def new_channel(self, prefix: str = "specific.") -> str:
        """Return the name of a new channel of this process."""
        channels = await self._started()
        return f"{prefix}.{channels.word}!{secrets.token_hex(6)}"

    async def group_add(self, group: str, channel: str) -> None:
        """Add a channel to a group, in the process that receives from it."""
        await self._change(JOIN, group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove a channel from a group."""
        await self._change(LEAVE, group, channel)

    async def flush(self) -> None:
        """Forget all messages of this site, and the groups of this event loop."""
        own = [f"{kind}{self._prefix}" for kind in (SEND, GROUP, JOIN, LEAVE)]
        await self._thread.arun(self._messages.clear, own)
        self._loops.forget()

    async def close_pools(self) -> None:
        """Close the connection for sending; it is opened again when it is needed."""
        await self._thread.aclose()

    async def _change(self, kind: str, group: str, channel: str) -> None:
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        channels = await self._started()
        if "!" in channel and not channels.owns(channel):
            await self._add(kind, channel, group.encode())
        elif kind == JOIN:
            channels.join(group, channel)
        else:
            channels.leave(group, channel)

    async def _add(self, kind: str, name: str, content: bytes) -> None:
        address = f"{kind}{self._prefix}{name}"
        await self._thread.arun(self._messages.add, [(address, content)])
        self._listener.wake()

    def _make_channels(self) -> LoopChannels:
        return LoopChannels(expiry=self.expiry, group_expiry=self.group_expiry)

    async def _started(self) -> LoopChannels:
        """Return the channels of this loop when it gets what is sent from now on."""
        channels = self._loops.get()
        if not channels.is_started:
            await asyncio.wrap_future(self._listener.start())
            channels.is_started = True
        return channels

    def _open_loops(self) -> list[LoopChannels]:
        return [i for i in self._loops.values() if not i.loop.is_closed()]

    def _receive(self, rows: Sequence[LayerRow]) -> None:
        for channels in self._open_loops():
            self._call(channels, self._take, channels, rows)

    def _lose(self, error: Exception) -> None:
        for channels in self._open_loops():
            self._call(channels, channels.lose, error)

    def _call(self, channels: LoopChannels, function: Any, *args: Any) -> None:
        try:
            channels.loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # it has just been closed
            return

    def _take(self, channels: LoopChannels, rows: Sequence[LayerRow]) -> None:
        channels.sweep()
        for _, address, content in rows:
            if not address.startswith(self._prefix, 1):
                continue  # of another site, or taken away
            kind, name = address[:1], address[1 + len(self._prefix) :]
            if kind == GROUP:
                for channel in channels.members(name):
                    self._put(channels, channel, content)
            elif "!" not in name:
                channels.news(name).set()
            elif not channels.owns(name):
                continue
            elif kind == SEND:
                self._put(channels, name, content)
            elif kind == JOIN:
                channels.join(content.decode(), name)
            else:
                channels.leave(content.decode(), name)

    def _put(self, channels: LoopChannels, channel: str, content: bytes) -> None:
        if "!" in channel:
            channels.put(channel, content, capacity=self.get_capacity(channel))
        else:
            detach(self._add(SEND, channel, content))


def _unpack(content: bytes) -> dict[str, Any]:
    message: dict[str, Any] = msgpack.unpackb(content, strict_map_key=False)
    return message
