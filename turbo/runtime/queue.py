"""
Queues of work that a task does while the code that fills the queue goes on.

* Any thread fills a :class:`Queue`. One task of a loop empties it and lives as long as
  the queue's owner. Use it where a process or loop needs one queue.
* :class:`KeyedQueues` belong to a loop and have a task only while items wait. Use them
  where there are thousands of queues.
* :class:`Queues` are run by the publisher's thread beside its broadcasts, one for each
  destination other than the channel layer. :func:`turbo.flush` waits until they are
  empty. A forked process leaves them to its parent.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterator
from contextlib import suppress
from typing import Generic, Protocol, TypeAlias, TypeVar, cast

from turbo.conf import get_settings
from turbo.runtime.failures import log_failure
from turbo.runtime.forks import Lock
from turbo.runtime.namespaces import bare_context
from turbo.runtime.tasks import Tasks

__all__ = ["IsSent", "KeyedQueues", "Make", "Progress", "Queue", "Queues", "Sender"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


#: Says whether what waited at some time has been sent.
IsSent: TypeAlias = Callable[[], bool]


class Progress:
    """
    Whether all that waited at some time has been sent.

    It goes through several queues of which each fills the next one. What waits in a
    queue is looked at when the queues before it have sent their part.
    """

    def __init__(self, stages: Iterator[IsSent]) -> None:
        self._stages = stages
        self._current: IsSent | None = next(stages, None)

    def is_done(self) -> bool:
        """Return whether everything has been sent; one thread may call this."""
        while self._current is not None and self._current():
            self._current = next(self._stages, None)
        return self._current is None


class Queue(Generic[T]):
    """
    A queue that any thread fills and one task of a loop empties, in order, in batches.

    At most ``PUBLISH_QUEUE`` items wait. ``on_full()`` must make room for one more.
    ``drained()`` is called whenever the queue has become empty. A batch that fails is
    logged and passed to ``fail()``, and the next one follows.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Callable[[list[T]], Awaitable[None]],
        *,
        batch: int,
        on_full: Callable[[], None],
        drained: Callable[[], None] = lambda: None,
        fail: Callable[[list[T]], None] = lambda batch: None,
    ) -> None:
        self._loop = loop
        self._work = work
        self._batch = batch
        self._on_full = on_full
        self._drained = drained
        self._fail = fail
        # Any thread fills these; the operations of a deque and a dict are atomic.
        self._items: deque[T] = deque()
        self._first: dict[T, None] = {}
        # Held while a dropped item is replaced, so that waiting() counts one of them.
        self._dropping = Lock()
        # Whether put() has to wake the task; an outdated value only costs a wake-up.
        self._is_idle = True
        self._busy = 0  # items in the current batch; owned by the task
        self._taken = 0  # those of them that were not put first
        self._gone = 0  # items that have been done or dropped, but for those put first
        self._wake = asyncio.Event()

    def put(self, item: T) -> None:
        """Add an item to the queue, from any thread, without blocking."""
        if len(self._items) >= get_settings().publish_queue:
            self._on_full()
        self._items.append(item)
        if self._is_idle:
            self._is_idle = False
            self._loop.call_soon_threadsafe(self._wake.set)

    def put_first(self, item: T) -> None:
        """
        Put ``item`` before all waiting items; a repeated item is put there once.

        This does not wake the task. It is meant for ``on_full()`` and for the task.
        """
        self._first[item] = None

    def drop_oldest(self, replace: Callable[[T], T] | None = None) -> T | None:
        """
        Remove the item that waited longest, and put ``replace(item)`` first instead.

        Return the item, or ``None`` if there was none.
        """
        with self._dropping:
            try:
                item = self._items.popleft()
            except IndexError:  # the task has taken it
                return None
            self._gone += 1
            if replace is not None:
                self.put_first(replace(item))
        return item

    def clear(self) -> int:
        """Drop all waiting items; return their number."""
        count = len(self._items)
        self._items.clear()
        return count

    def waiting(self) -> int:
        """Return the number of items that have not been done yet."""
        with self._dropping:
            return len(self._items) + len(self._first) + self._busy

    def progress(self) -> IsSent:
        """Return a function that says whether what waits now has been done."""
        with self._dropping:
            # While the task takes a batch this may be too many, but never too few.
            goal = self._gone + self._taken + len(self._items)

        def is_sent() -> bool:
            if not self.waiting():
                return True
            # What was put first stands for dropped items, which are counted as gone.
            has_first = self._first or self._busy > self._taken
            return self._gone >= goal and not has_first

        return is_sent

    async def run(self) -> None:
        """Do the queued work until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while batch := self._take():
                await self._attempt(batch)
                with self._dropping:
                    self._gone += self._taken
                    self._busy = self._taken = 0
            self._is_idle = True
            if self._items:  # added after the last look
                self._wake.set()
            self._drained()

    async def _attempt(self, batch: list[T]) -> None:
        try:
            await self._work(batch)
        except Exception as error:  # the task has to go on with what follows
            log_failure("A queue could not process its items.", error)
            self._fail(batch)

    def _take(self) -> list[T]:
        # Counted before they are taken, so that flush() does not miss items in work.
        batch: list[T] = []
        for item in list(self._first)[: self._batch]:
            self._busy += 1
            del self._first[item]
            batch.append(item)
        if self._first:
            return batch
        count = min(len(self._items), self._batch)
        self._busy += count
        self._taken = count
        with suppress(IndexError):  # another thread may have dropped the oldest
            for left in range(count, 0, -1):
                batch.append(self._items.popleft())
                count = left - 1
        self._taken -= count
        self._busy = len(batch)
        return batch


class KeyedQueues(Generic[K, T]):
    """
    Queues whose items are done in order for each key; different keys run concurrently.

    ``work`` gets all items that wait for a key, and ``fail`` those for which ``work``
    raised an exception.
    """

    def __init__(
        self,
        work: Callable[[K, list[T]], Awaitable[None]],
        fail: Callable[[list[T]], None],
    ) -> None:
        self._work = work
        self._fail = fail
        self._context = bare_context()  # those who fill a queue share a namespace
        self._queues: dict[K, list[T]] = {}
        self._tasks: dict[K, asyncio.Task[None]] = {}

    def put(self, key: K, item: T) -> None:
        """Add an item to the queue of ``key``; this neither blocks nor raises."""
        self._queues.setdefault(key, []).append(item)
        if key not in self._tasks:
            # Not the caller's context, which may belong to one client.
            loop, context = asyncio.get_running_loop(), self._context.copy()
            self._tasks[key] = loop.create_task(self._run(key), context=context)

    def last(self, key: K) -> T | None:
        """Return the last item that waits for ``key``, or ``None``."""
        items = self._queues.get(key)
        return items[-1] if items else None

    def waiting(self, key: K) -> int:
        """Return how many items wait for ``key``."""
        return len(self._queues.get(key, ()))

    def stop(self) -> None:
        """Drop all items and cancel the tasks; items added later are done."""
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
            log_failure("Clients could not be notified of a change.", error)
            self._fail(items)


class Sender(Protocol):
    """A sender for messages of one kind, with a queue for them."""

    def waiting(self) -> int:
        """Return how many messages have not been sent yet."""

    def progress(self) -> IsSent:
        """Return a function that says whether what waits now has been sent."""

    async def work(self) -> None:
        """Send queued messages until cancelled, on the publisher's loop."""


S = TypeVar("S", bound=Sender)

#: Makes a sender for a loop, which calls the given function when its queue is empty.
Make: TypeAlias = Callable[[asyncio.AbstractEventLoop, Callable[[], None]], S]


class Queues:
    """The senders of one publisher, made on first use."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_empty: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._on_empty = on_empty
        self._tasks = Tasks()  # of the loop
        self._lock = threading.Lock()  # held while _made grows
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

    def progress(self) -> IsSent:
        """Return a function that says whether what waits now has been sent."""
        each = [sender.progress() for sender in list(self._made.values())]
        return lambda: all(is_sent() for is_sent in each)

    async def stop(self) -> None:
        """Stop all senders; waiting messages are lost."""
        await self._tasks.stop()

    def _start(self, make: Make[S]) -> S:
        sender = make(self._loop, self._on_empty)
        self._loop.call_soon_threadsafe(lambda: self._tasks.run(sender.work()))
        self._made[make] = sender
        return sender
