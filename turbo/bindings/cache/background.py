"""
The work on bindings that follows a commit, done by a thread of its own.

A save must not wait for the store, so its thread only adds to a queue. Readers in this
process wait until the work that was added before is done, so they see their own saves.
Other processes see them some milliseconds later.

The queue belongs to the publisher of the process: :func:`turbo.flush` waits for it, and
a forked process leaves it to its parent.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from typing import TypeAlias

from django.db import close_old_connections, connections

from turbo.bindings.cache.outage import owe, owes
from turbo.bindings.store import get_store
from turbo.conf import get_settings
from turbo.delivery.broadcast import get_publisher
from turbo.exceptions import TurboError
from turbo.runtime.endings import before_end, remaining
from turbo.runtime.failures import log_failure
from turbo.runtime.forks import after_in_child
from turbo.runtime.namespaces import current, within
from turbo.runtime.queue import IsSent

__all__ = ["do_later", "do_now", "wait_until_done"]

Work: TypeAlias = Callable[[], object]


@dataclass(slots=True)
class _Job:
    number: int
    groups: Collection[str]
    work: Work


class Overflow(TurboError, RuntimeError):
    """More changes wait for the store than ``PUBLISH_QUEUE``."""


class BackgroundWork:
    """The queue and the thread that empties it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_empty: Callable[[], None]
    ) -> None:
        self._on_empty = on_empty
        self._changed = threading.Condition()  # owns all below
        self._jobs: dict[Hashable, _Job] = {}
        self._current: _Job | None = None
        self._groups: Counter[str] = Counter()
        self._count = 0
        self._is_stopped = False
        self.thread = threading.Thread(
            target=self._run, name="turbo-bindings", daemon=True
        )
        self.thread.start()

    def put(self, key: Hashable, groups: Collection[str], work: Work) -> None:
        """Add work for some classes of bindings, unless the same work waits already."""
        dropped = None
        with self._changed:
            waiting = self._jobs.get(key)
            if waiting is not None:
                waiting.work = work
                return
            if len(self._jobs) >= get_settings().publish_queue:
                dropped = self._jobs.pop(next(iter(self._jobs)))
                self._groups.subtract(dropped.groups)
            self._count += 1
            self._jobs[key] = _Job(self._count, groups, work)
            self._groups.update(groups)
            self._changed.notify_all()
        for group in dropped.groups if dropped else ():
            owe(group, Overflow("Too many changes wait for the store of the bindings."))

    def waiting(self) -> int:
        """Return how much work has not been done yet."""
        return len(self._jobs) + (self._current is not None)

    def progress(self) -> IsSent:
        """Return a function that says whether the work that waits now is done."""
        with self._changed:
            last = self._count
        # What the store misses is known to this process alone.
        return lambda: self._is_past(last) and not owes()

    def _is_past(self, last: int) -> bool:
        with self._changed:
            return self._oldest() > last

    def wait(self, group: str, timeout: float) -> bool:
        """Return whether the work for a class was done within ``timeout`` seconds."""
        with self._changed:
            last = self._count
            return self._changed.wait_for(
                lambda: not self._groups[group] or self._oldest() > last, timeout
            )

    def finish(self, timeout: float) -> None:
        """Wait for all work; note the classes whose work takes too long."""
        with self._changed:
            self._changed.wait_for(lambda: not self.waiting(), timeout)
            left = [group for group, count in self._groups.items() if count]
        for group in left:
            owe(group, TimeoutError("The process ends."))

    async def work(self) -> None:
        """Wait until cancelled, and then end the thread; note what it has not done."""
        try:
            await asyncio.Event().wait()
        finally:
            with self._changed:
                self._is_stopped = True
                self._changed.notify_all()
            self.thread.join()
            self.finish(0)
            with self._changed:
                self._jobs.clear()
                self._groups.clear()
                self._changed.notify_all()

    def _oldest(self) -> int:
        waiting = next(iter(self._jobs.values()), None)
        job = self._current or waiting
        return job.number if job else self._count + 1

    def _run(self) -> None:
        try:
            while (job := self._next()) is not None:
                try:
                    job.work()
                except BaseException as error:  # the next job has to be done
                    log_failure("Bindings could not be brought up to date.", error)
                self._finish(job)
        finally:
            connections.close_all()

    def _next(self) -> _Job | None:
        with self._changed:
            while not self._jobs and not self._is_stopped:
                self._changed.wait()
            if self._is_stopped:
                return None
            self._current = self._jobs.pop(next(iter(self._jobs)))
            return self._current

    def _finish(self, job: _Job) -> None:
        with self._changed:
            is_last = not self._jobs
        if is_last:
            close_old_connections()
        with self._changed:
            self._current = None
            self._groups.subtract(job.groups)
            self._changed.notify_all()
        self._on_empty()


_current: BackgroundWork | None = None


def do_later(key: Hashable, groups: Collection[str], work: Work) -> None:
    """Do the work for some classes of bindings soon, in the background."""
    global _current
    publisher = get_publisher()
    _current = publisher.queues.get(BackgroundWork)
    _current.put(key, groups, within(current(), work))
    publisher.flush_at_end()


def do_now(database: str) -> bool:
    """
    Return whether to do the work in the thread that has committed.

    This is so if the store is in this process, and for a database in memory, whose
    connections of several threads lock each other out.
    """
    is_in_memory = getattr(connections[database], "is_in_memory_db", None)
    return not get_store().supports_processes or bool(is_in_memory and is_in_memory())


def wait_until_done(group: str, timeout: float) -> bool:
    """Return whether the work for a class of bindings has been done."""
    work = _current
    if work is None or work.thread is threading.current_thread():
        return True
    return work.wait(group, timeout)


@before_end
def _at_end() -> None:
    if _current is not None:
        _current.finish(remaining(get_settings().flush_timeout))


@after_in_child
def _after_fork() -> None:
    global _current
    _current = None
