"""
Queues: whoever puts something there goes on, and a task does the work.

* :class:`Queue` is filled by any thread and emptied by one task of a loop, which lives
  as long as its owner: for what a whole process or loop has one of.
* :class:`KeyedQueues` belong to a loop and have a task only while something waits: for
  what there are thousands of.
* :class:`Queues` are those that the publisher's thread empties beside the broadcasts:
  what goes elsewhere than to the channel layer has a queue of its own.
  :func:`turbo.flush` waits until it is empty, and a fork leaves it to the parent.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from contextvars import Context
from typing import Generic, Protocol, TypeAlias, TypeVar, cast

from turbo.conf import get_settings
from turbo.runtime.failures import log_failure
from turbo.runtime.tasks import Tasks

__all__ = ["KeyedQueues", "Make", "Queue", "Queues", "Sender"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Queue(Generic[T]):
    """
    What any thread puts here is done in order and in batches, by a loop's one task.

    At most ``PUBLISH_QUEUE`` things wait; ``on_full()`` makes room for one more.
    ``drained()`` is called whenever nothing is left.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Callable[[list[T]], Awaitable[None]],
        *,
        batch: int,
        on_full: Callable[[], None],
        drained: Callable[[], None] = lambda: None,
    ) -> None:
        self._loop = loop
        self._work = work
        self._batch = batch
        self._on_full = on_full
        self._drained = drained
        # Filled by any thread; the operations of a deque and a dict are atomic.
        self._items: deque[T] = deque()
        self._first: dict[T, None] = {}
        # Whether the next one has to wake the task; a stale read only costs a wake-up.
        self._is_idle = True
        self._busy = 0  # what is being done; owned by the task
        self._wake = asyncio.Event()

    def put(self, item: T) -> None:
        """Queue something, from any thread; never blocks."""
        if len(self._items) >= get_settings().publish_queue:
            self._on_full()
        self._items.append(item)
        if self._is_idle:
            self._is_idle = False
            self._loop.call_soon_threadsafe(self._wake.set)

    def put_first(self, item: T) -> None:
        """
        Let ``item`` go before all that waits, however often it is put there.

        It wakes nobody: for who makes room, and for the task itself.
        """
        self._first[item] = None

    def drop_oldest(self) -> T | None:
        """Return what waited longest and is not done any more, if anything waits."""
        try:
            return self._items.popleft()
        except IndexError:  # the task was faster
            return None

    def clear(self) -> int:
        """Drop all that waits; return how much that was."""
        count = len(self._items)
        self._items.clear()
        return count

    def waiting(self) -> int:
        """Return how much has not been done yet."""
        return len(self._items) + len(self._first) + self._busy

    async def run(self) -> None:
        """Do what is queued, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._take():
                await self._work(batch)
                self._busy = 0
            self._is_idle = True
            if self._items:  # put there between the last look and the line above
                self._wake.set()
            self._drained()

    def _take(self) -> list[T]:
        # Counted before it is taken, so that who flushes never sees nothing waiting.
        count = min(len(self._items), self._batch)
        self._busy = count
        batch: list[T] = []
        for item in list(self._first):
            self._busy += 1
            del self._first[item]
            batch.append(item)
        with suppress(IndexError):  # another thread may have dropped the oldest
            for _ in range(count):
                batch.append(self._items.popleft())
        self._busy = len(batch)
        return batch


class KeyedQueues(Generic[K, T]):
    """
    Work that is done in order for each key, and for the keys beside each other.

    ``work`` is given all that waits for its key, ``fail`` what it failed with.
    """

    def __init__(
        self,
        work: Callable[[K, list[T]], Awaitable[None]],
        fail: Callable[[list[T]], None],
    ) -> None:
        self._work = work
        self._fail = fail
        self._queues: dict[K, list[T]] = {}
        self._tasks: dict[K, asyncio.Task[None]] = {}

    def put(self, key: K, item: T) -> None:
        """Put something on the queue of ``key``; neither blocks nor raises."""
        self._queues.setdefault(key, []).append(item)
        if key not in self._tasks:
            # Not that of whoever puts it, who may be at work for one client.
            loop, context = asyncio.get_running_loop(), Context()
            self._tasks[key] = loop.create_task(self._run(key), context=context)

    def last(self, key: K) -> T | None:
        """Return what was put there last and still waits."""
        items = self._queues.get(key)
        return items[-1] if items else None

    def waiting(self, key: K) -> int:
        """Return how much waits there."""
        return len(self._queues.get(key, ()))

    def stop(self) -> None:
        """Do nothing more, but for what is put from now on."""
        tasks, self._tasks = self._tasks, {}
        self._queues.clear()
        for task in tasks.values():
            if task is not asyncio.current_task():
                task.cancel()

    async def _run(self, key: K) -> None:
        task = asyncio.current_task()
        try:
            while self._tasks.get(key) is task and (items := self._queues.pop(key, [])):
                await self._attempt(key, items)
        finally:
            if self._tasks.get(key) is task:
                del self._tasks[key]

    async def _attempt(self, key: K, items: list[T]) -> None:
        try:
            await self._work(key, items)
        except Exception as error:
            log_failure("Clients cannot be told of a change.", error)
            self._fail(items)


class Sender(Protocol):
    """Who sends messages of one kind, and has a queue for them."""

    def waiting(self) -> int:
        """Return how many messages have not been sent yet."""

    async def work(self) -> None:
        """Send what is queued, until cancelled; runs on the publisher's loop."""


S = TypeVar("S", bound=Sender)

#: Makes a sender for a loop; the function given is to be called when it ran empty.
Make: TypeAlias = Callable[[asyncio.AbstractEventLoop, Callable[[], None]], S]


class Queues:
    """The senders of one publisher, made when they are first used."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_empty: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._on_empty = on_empty
        self._tasks = Tasks()  # of the loop
        self._lock = threading.Lock()  # owns the additions to _made
        self._made: dict[Make[Sender], Sender] = {}

    def get(self, make: Make[S]) -> S:
        """Return the sender of a kind."""
        sender = self._made.get(make)
        if sender is None:
            with self._lock:
                sender = self._made.get(make) or self._start(make)
        return cast(S, sender)

    def waiting(self) -> int:
        """Return how many messages have not been sent yet."""
        return sum(sender.waiting() for sender in list(self._made.values()))

    async def stop(self) -> None:
        """End them; what waits is lost."""
        await self._tasks.stop()

    def _start(self, make: Make[S]) -> S:
        sender = make(self._loop, self._on_empty)
        self._loop.call_soon_threadsafe(lambda: self._tasks.run(sender.work()))
        self._made[make] = sender
        return sender
