"""
The channels and groups of the layer on one event loop.

Which channels are in a group is known only where they are received from. A message to a
group is read by all processes; each passes it on to its own channels.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["LoopChannels"]

#: Seconds between two looks for what nobody receives any more.
SWEEP = 60.0


@dataclass(slots=True)
class _Queue:
    """What waits for the receivers of one channel."""

    #: A message with the time when it came, or an error to be raised in its place.
    items: deque[tuple[float, bytes | Exception]] = field(default_factory=deque)
    receivers: deque[asyncio.Future[None]] = field(default_factory=deque)

    def put(self, item: bytes | Exception) -> None:
        self.items.append((time.monotonic(), item))
        self.wake()

    def wake(self) -> None:
        while self.receivers:
            if not (receiver := self.receivers.popleft()).done():
                receiver.set_result(None)
                return


class LoopChannels:
    """What has arrived on an event loop and was not received yet."""

    def __init__(self, *, expiry: float, group_expiry: float) -> None:
        self.loop = asyncio.get_running_loop()
        #: A part of the names of all channels of this loop.
        self.word = secrets.token_hex(8)
        #: Whether all that is sent from now on arrives.
        self.is_started = False
        self._expiry = expiry
        self._group_expiry = group_expiry
        self._queues: dict[str, _Queue] = {}
        self._groups: dict[str, dict[str, float]] = {}
        self._news: dict[str, asyncio.Event] = {}
        self._swept = time.monotonic()

    def owns(self, channel: str) -> bool:
        """Return whether the channel is received from on this loop."""
        return f".{self.word}!" in channel

    def join(self, group: str, channel: str) -> None:
        """Add a channel to a group."""
        self._groups.setdefault(group, {})[channel] = time.monotonic()

    def leave(self, group: str, channel: str) -> None:
        """Remove a channel from a group."""
        members = self._groups.get(group, {})
        members.pop(channel, None)
        if not members:
            self._groups.pop(group, None)

    def members(self, group: str) -> Sequence[str]:
        """Return the channels of this loop that are in a group."""
        return list(self._groups.get(group, ()))

    def put(self, channel: str, content: bytes, *, capacity: int) -> None:
        """Keep a message for a channel; the oldest are lost if there are too many."""
        queue = self._queues.setdefault(channel, _Queue())
        queue.put(content)
        if len(queue.items) > capacity:
            queue.items.popleft()
            queue.items[0] = (time.monotonic(), _lost(f"{channel} was not read"))

    def lose(self, error: Exception) -> None:
        """Let the receivers of all channels know that messages were lost."""
        joined = {channel for members in self._groups.values() for channel in members}
        for channel in joined.union(self._queues):
            self._queues.setdefault(channel, _Queue()).put(error)

    async def get(self, channel: str) -> bytes:
        """Return the next message of a channel."""
        queue = self._queues.setdefault(channel, _Queue())
        while not queue.items:
            await self._next(queue)
        _, item = queue.items.popleft()
        if not (queue.items or queue.receivers):
            self._queues.pop(channel, None)
        if isinstance(item, Exception):
            raise item
        return item

    def news(self, channel: str) -> asyncio.Event:
        """Return what is set when there may be a message for who is first."""
        return self._news.setdefault(channel, asyncio.Event())

    async def _next(self, queue: _Queue) -> None:
        receiver: asyncio.Future[None] = self.loop.create_future()
        queue.receivers.append(receiver)
        try:
            await receiver
        except BaseException:
            if receiver in queue.receivers:
                queue.receivers.remove(receiver)
            elif queue.items:
                queue.wake()  # another receiver
            raise

    def sweep(self) -> None:
        """Forget what nobody receives any more."""
        now = time.monotonic()
        if now - self._swept < SWEEP:
            return
        self._swept = now
        for channel, queue in list(self._queues.items()):
            while queue.items and queue.items[0][0] < now - self._expiry:
                queue.items.popleft()
            if not (queue.items or queue.receivers):
                del self._queues[channel]
        for group, members in list(self._groups.items()):
            for channel, joined in list(members.items()):
                if joined < now - self._group_expiry:
                    self.leave(group, channel)


def _lost(why: str) -> Exception:
    return ConnectionError(f"Messages of the channel layer were lost: {why}.")
