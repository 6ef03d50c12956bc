"""
The fan-out, which passes changes from Redis to the sockets.

Each process has one per event loop. It has one subscription, reads each change once,
lets the readers decide, and hands the same frame to all sockets of a user without
awaiting any. If changes may be missing, it sends ``{"type":"gap"}`` to everybody.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context

from turbo import metrics
from turbo.delivery.names import user_key
from turbo.delivery.unreadable import Unreadable, drop
from turbo.pubsub.changes import read_changes
from turbo.pubsub.channel_writer import server_channel
from turbo.pubsub.conf import redis_host
from turbo.pubsub.listeners import QUICK, Listener, Reader, ReaderKey
from turbo.pubsub.message import Announcement
from turbo.runtime.failures import log_failure
from turbo.runtime.loops import PerLoop
from turbo.runtime.namespaces import entered
from turbo.runtime.queue import Queue
from turbo.runtime.redis.listen import BREAK, hear
from turbo.runtime.tasks import Tasks
from turbo.runtime.threads import in_thread, in_turns

__all__ = ["FanOut", "get_fan_out"]

logger = logging.getLogger("turbo.pubsub")

#: The most changes that are decided together.
BATCH = 64
#: Seconds after which a slow test of one user no longer delays the other users.
PATIENCE = 0.1
#: Threads that decide at the same time for users whose tests have been quick.
VISITS = 3


class FanOut:
    """The sockets of one loop, and their changes."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._guests = 0
        self._readers: dict[ReaderKey, Reader] = {}
        self._listeners: dict[Listener, Reader] = {}
        # ``None`` stands for changes that are missing.
        self._queue: Queue[Announcement | None] = Queue(
            self._loop,
            self._tell,
            batch=BATCH,
            on_full=self._drop_all,
            fail=lambda _: self._miss(),
        )
        self._ready = asyncio.Event()
        self._jobs = Tasks()

    async def open(self, patience: float) -> None:
        """Add a connection; wait up to ``patience`` seconds for the subscription."""
        self._guests += 1
        if self._guests == 1:
            # It works for all connections, and longer than the first one.
            Context().run(self._start)
        with suppress(TimeoutError):  # then it gets a gap when the subscription begins
            async with asyncio.timeout(patience):
                await self._ready.wait()

    def _start(self) -> None:
        self._jobs.run(self._listen())
        self._jobs.run(self._queue.run())

    async def close(self) -> None:
        """Remove a connection; the last one ends the subscription."""
        self._guests -= 1
        if not self._guests:
            _fan_outs.forget()
            await self._jobs.stop()

    def admit(self, listener: Listener) -> None:
        """Send a socket every change from now on that its user may see."""
        visitor = listener.visitor
        key = visitor.namespace, user_key(visitor.user)
        reader = self._readers.get(key)
        if reader is None:
            reader = self._readers[key] = Reader(
                key, visitor.budget.owner if key[1] else "nobody"
            )
        reader.listeners[listener] = None
        self._listeners[listener] = reader

    def dismiss(self, listener: Listener) -> bool:
        """Send a socket no more changes; return whether it may have missed one."""
        reader = self._listeners.pop(listener, None)
        if reader is None:
            return False
        del reader.listeners[listener]
        self._forget_unused(reader)
        return reader.is_behind or bool(self._queue.waiting())

    def _forget_unused(self, reader: Reader) -> None:
        # A busy reader is kept, so that no user who reconnects is tested twice at once.
        if not reader.listeners and not reader.is_busy:
            self._readers.pop(reader.key, None)

    async def _listen(self) -> None:
        host = redis_host()
        if host is None:
            logger.error(
                "No changes are received: the channel layer is not in Redis, and "
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
            self._queue.put(None if text is BREAK else Announcement.unpack(text))
        except Unreadable as problem:
            drop("changes for pub/sub clients", problem)

    def _drop_all(self) -> None:
        metrics.count("dropped", self._queue.clear())
        self._queue.put_first(None)

    async def _tell(self, batch: list[Announcement | None]) -> None:
        if None in batch:
            self._miss()
        # Closing sockets removes readers.
        for namespace in {reader.namespace for reader in self._readers.values()}:
            wanted = [i for i in batch if i is not None and i.namespace == namespace]
            if wanted:
                await self._read(namespace, wanted)
        await self._decide()

    async def _read(self, namespace: str, wanted: Sequence[Announcement]) -> None:
        """Read the changes of one namespace for its readers."""
        try:
            with entered(namespace):
                changes = await in_thread(read_changes, wanted)
        except Exception as error:
            log_failure("Changes could not be read for clients.", error)
            self._miss(namespace)
            return
        for reader in self._readers_in(namespace):
            reader.put(changes)

    def _readers_in(self, namespace: str | None) -> list[Reader]:
        return [
            reader
            for reader in self._readers.values()
            if namespace is None or reader.namespace == namespace
        ]

    def _miss(self, namespace: str | None = None) -> None:
        for reader in self._readers_in(namespace):
            reader.miss()

    async def _decide(self) -> None:
        """Decide for all users, without waiting for those with slow tests."""
        idle = [reader for reader in self._readers.values() if not reader.is_busy]
        for reader in idle:
            if reader.is_slow:
                self._jobs.run(self._decide_apart(reader))
        quick = deque(r for r in idle if not r.is_slow and r.begin())
        visits: set[asyncio.Future[None]] = set()
        while quick or visits:
            if quick and len(visits) < VISITS:
                visits.add(asyncio.ensure_future(in_thread(self._visit, quick)))
            first = asyncio.FIRST_COMPLETED
            done, visits = await asyncio.wait(
                visits, timeout=PATIENCE, return_when=first
            )
            if not done and not quick:
                return  # the running visits finish by themselves

    def _visit(self, readers: deque[Reader]) -> None:
        while readers:
            try:
                reader = readers.popleft()
            except IndexError:
                return  # another visit has taken the last one
            try:
                reader.decide()
            finally:
                self._loop.call_soon_threadsafe(self._finish, reader)

    def _finish(self, reader: Reader) -> None:
        reader.finish()
        self._forget_unused(reader)
        if reader.is_behind:
            self._jobs.run(self._decide_apart(reader))

    async def _decide_apart(self, reader: Reader) -> None:
        while reader.begin():
            begun = self._loop.time()
            try:
                with entered(reader.namespace):
                    await in_turns(reader.owner, reader.steps())
            finally:
                reader.is_slow = self._loop.time() - begun > QUICK
                reader.finish()
        self._forget_unused(reader)


_fan_outs = PerLoop(FanOut)


def get_fan_out() -> FanOut:
    """Return the fan-out of the running loop; call open() before any ``await``."""
    return _fan_outs.get()
