"""
The relay: one a process and event loop, between Redis and the sockets.

It has one subscription, decides once for each change and user, and hands the same frame
to all sockets of those users without awaiting any. Where changes may be missing it says
``{"type":"gap"}`` to everybody.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from channels.db import database_sync_to_async

from turbo import metrics
from turbo.conf import get_settings
from turbo.errands import Errands
from turbo.frame import Frame
from turbo.pubsub.announcements import Announcement
from turbo.pubsub.conf import redis_host
from turbo.pubsub.courier import server_channel
from turbo.pubsub.protocol import GAP_FRAME
from turbo.pubsub.subscription import BREAK, hear
from turbo.pubsub.verdicts import Verdict, judge
from turbo.unreadable import Unreadable, drop

__all__ = ["Listener", "Relay", "get_relay"]

logger = logging.getLogger("turbo.pubsub")

#: Changes decided together.
BATCH = 64


class Listener(Protocol):
    """A socket that has been let in."""

    @property
    def user(self) -> Any:
        """Who is there."""

    @property
    def key(self) -> str | None:
        """What identifies the user."""

    def tell(self, frame: Frame) -> None:
        """Take a frame; never blocks."""


class Relay:
    """The sockets of one loop, and what they are told."""

    def __init__(self) -> None:
        self._guests = 0
        self._listeners: dict[Listener, None] = {}
        # ``None`` stands for changes that are missing.
        self._queue: deque[Announcement | None] = deque()
        self._wake = asyncio.Event()
        self._ready = asyncio.Event()
        self._jobs = Errands()

    async def open(self, patience: float) -> None:
        """Take a connection on; return when changes are heard, or ``patience`` ends."""
        self._guests += 1
        if self._guests == 1:
            self._jobs.run(self._listen())
            self._jobs.run(self._work())
        with suppress(TimeoutError):  # it is told of a gap as soon as they are heard
            async with asyncio.timeout(patience):
                await self._ready.wait()

    async def close(self) -> None:
        """Forget a connection; the last one ends the subscription."""
        self._guests -= 1
        if not self._guests:
            _relays.pop(asyncio.get_running_loop(), None)
            await self._jobs.stop()

    def admit(self, listener: Listener) -> None:
        """Tell a socket of every change from now on that its user may see."""
        self._listeners[listener] = None

    def dismiss(self, listener: Listener) -> None:
        """Tell a socket nothing more."""
        self._listeners.pop(listener, None)

    async def _listen(self) -> None:
        host = redis_host()
        if host is None:
            logger.error(
                "No change is heard: the channel layer is not in Redis, and "
                "TURBO['PUBSUB'] has no REDIS_HOSTS."
            )
            self._ready.set()
            return
        async for text in hear(host, server_channel()):
            self._ready.set()
            if self._listeners:
                self._hear(text)

    def _hear(self, text: str | None) -> None:
        try:
            self._put(None if text is BREAK else Announcement.unpack(text))
        except Unreadable as problem:
            drop("changes for pub/sub clients", problem)

    def _put(self, item: Announcement | None) -> None:
        if len(self._queue) >= get_settings().publish_queue:
            metrics.count("dropped", len(self._queue))
            self._queue.clear()
            item = None
        self._queue.append(item)
        self._wake.set()

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await self._tell(self._take())

    def _take(self) -> list[Announcement | None]:
        count = min(len(self._queue), BATCH)
        return [self._queue.popleft() for _ in range(count)]

    async def _tell(self, batch: list[Announcement | None]) -> None:
        if None in batch:
            self._tell_all(Frame(GAP_FRAME))
        announcements = [item for item in batch if item is not None]
        users = {listener.key: listener.user for listener in self._listeners}
        if not announcements or not users:
            return
        try:
            verdicts = await database_sync_to_async(judge)(announcements, users)
        except Exception:
            logger.exception("%d changes cannot be told.", len(announcements))
            metrics.count("failed")
            self._tell_all(Frame(GAP_FRAME))
            return
        for verdict in verdicts:
            self._hand_out(verdict)

    def _hand_out(self, verdict: Verdict) -> None:
        frame, told = Frame(verdict.text), 0
        for listener in list(self._listeners):
            if listener.key in verdict.users:
                listener.tell(frame)
                told += 1
        metrics.count("delivered", told)

    def _tell_all(self, frame: Frame) -> None:
        for listener in list(self._listeners):
            listener.tell(frame)


_relays: WeakKeyDictionary[asyncio.AbstractEventLoop, Relay] = WeakKeyDictionary()


def get_relay() -> Relay:
    """Return the relay of the running loop; open a connection before awaiting."""
    loop = asyncio.get_running_loop()
    relay = _relays.get(loop)
    if relay is None:
        relay = _relays[loop] = Relay()
    return relay
