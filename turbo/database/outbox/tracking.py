"""
The rows of this process in the outbox, and the thread that deletes them.

A row may go when everything has been sent that waited in the publisher after the hooks
of its transaction. Rows of many transactions are deleted together. Until then, the
thread says every few seconds that their process is alive.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from django.db import connections
from django.db.models import QuerySet
from django.db.models.functions import Now

from turbo import metrics
from turbo.conf import get_settings
from turbo.database.models import OutboxEntry
from turbo.database.thread import own_connection
from turbo.delivery.broadcast import flush, get_publisher
from turbo.runtime.backoff import OutageLog
from turbo.runtime.endings import before_end, remaining
from turbo.runtime.failures import log_failure
from turbo.runtime.forks import after_in_child, delaying_forks
from turbo.runtime.queue import Progress

__all__ = ["EntryPlace", "Tracker", "get_tracker", "shut_down"]

logger = logging.getLogger("turbo.outbox")

#: Seconds in which the rows of several transactions gather, to be deleted together.
PAUSE = 0.1
#: Seconds after which it is first looked whether a batch has been sent.
FIRST = 0.005
#: Seconds after which a process says again that it is alive.
RENEWAL = 2.0
#: Rows in one query; SQLite and Oracle allow few parameters.
PORTION = 500


class EntryPlace(NamedTuple):
    """Where a row is: the alias of its database, and its primary key."""

    alias: str
    pk: int


class Tracker:
    """The rows of this process, which any thread adds, and the thread for them."""

    def __init__(self) -> None:
        #: What the rows of this process have as their owner.
        self.owner = secrets.token_hex(8)
        self._changed = threading.Condition()  # owns what any thread uses:
        #: When each row was last known to be fresh.
        self._held: dict[EntryPlace, float] = {}
        self._settled: list[EntryPlace] = []
        self._thread: threading.Thread | None = None
        self._is_stopped = self._is_ending = self._is_idle = False
        # Only used by the thread:
        self._batches: deque[tuple[Progress, list[EntryPlace]]] = deque()
        self._sent: list[EntryPlace] = []
        self._connected: set[str] = set()
        self._next_batch = 0.0
        self._pause = FIRST
        self._outage = OutageLog(
            logger,
            down="Rows of the outbox cannot be deleted: %(type)s: %(error)s",
            up="Rows of the outbox are deleted again.",
        )

    def hold(self, place: EntryPlace) -> None:
        """Say that this process is alive until the row is deleted."""
        with self._changed:
            self._held[place] = time.monotonic()
            if self._is_idle:
                self._changed.notify_all()
            if self._thread is None and not self._is_stopped:
                self._start()

    def _start(self) -> None:
        thread = threading.Thread(target=self._main, name="turbo-outbox", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # the caller has committed; the next one tries
            log_failure("Rows of the outbox are not deleted without a thread.", error)
        else:
            self._thread = thread

    def settle(self, place: EntryPlace) -> None:
        """Delete the row when all that waits now has been sent."""
        with self._changed:
            self._settled.append(place)
            if self._is_ending:
                self._changed.notify_all()

    def release(self, place: EntryPlace) -> None:
        """Leave the row to the process that looks for it next."""
        with self._changed:
            self._held.pop(place, None)

    def holds(self, place: EntryPlace) -> bool:
        """Return whether the row is one of this process, which tells it."""
        return place in self._held

    def waiting(self) -> int:
        """Return how many rows have not been deleted yet."""
        return len(self._held)

    def finish(self, timeout: float) -> bool:
        """Delete all rows whose changes have been sent, if that is possible in time."""
        with self._changed:
            if self._thread is None:
                return not self._held
            self._is_ending = True
            self._changed.notify_all()
            is_done = self._changed.wait_for(lambda: not self._held, timeout)
            self._is_ending = False  # the process may go on
            return is_done

    def stop(self) -> None:
        """End the thread; what is left is told by another process, or a later one."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _main(self) -> None:
        try:
            while not self._is_stopped:
                with delaying_forks():
                    try:
                        self._round()
                    except Exception as error:  # no thread for a publisher, say
                        log_failure("Rows of the outbox wait to be deleted.", error)
                self._wait()
        finally:
            connections.close_all()

    def _wait(self) -> None:
        if not self._wait_for_rows(RENEWAL):
            with delaying_forks():
                connections.close_all()
            self._wait_for_rows(None)
        # Nobody tells when what waits has been sent; it takes some milliseconds, unless
        # Redis is away.
        pause, self._pause = self._pause, min(2 * self._pause, PAUSE)
        if not (self._batches or self._is_ending):
            pause = PAUSE
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopped or self._hurries(), pause)

    def _wait_for_rows(self, timeout: float | None) -> bool:
        with self._changed:
            self._is_idle = True
            found = self._changed.wait_for(
                lambda: self._held or self._is_stopped, timeout
            )
            self._is_idle = False
            return bool(found)

    def _hurries(self) -> bool:
        return self._is_ending and bool(self._settled)

    def _round(self) -> None:
        self._take_settled()
        while self._batches and self._batches[0][0].is_done():
            self._sent += self._batches.popleft()[1]
        now = time.monotonic()
        with self._changed:
            old = [p for p, seen in self._held.items() if now - seen >= RENEWAL]
        failure: Exception | None = None
        for alias in {place.alias for place in [*self._sent, *old]}:
            try:
                if alias not in self._connected:
                    own_connection(alias)  # not one of a pool that requests need
                    self._connected.add(alias)
                self._delete(alias)
                self._renew(alias, old, now)
            except Exception as error:  # it is tried again, or another process tells
                failure = error
                connections[alias].close()
        if failure is not None:
            self._outage.down(failure)
            time.sleep(PAUSE)
        else:
            self._outage.up()

    def _take_settled(self) -> None:
        """Make a batch of what has been settled since the last one."""
        now = time.monotonic()
        if not self._settled or (now < self._next_batch and not self._is_ending):
            return
        self._next_batch, self._pause = now + PAUSE, FIRST
        publisher = get_publisher()  # may fail
        with self._changed:
            settled, self._settled = self._settled, []
        self._batches.append((publisher.progress(), settled))

    def _delete(self, alias: str) -> None:
        for rows in self._rows(alias, self._sent):
            rows._raw_delete(alias)
        gone = {place for place in self._sent if place.alias == alias}
        self._sent = [place for place in self._sent if place not in gone]
        with self._changed:
            for place in gone:
                self._held.pop(place, None)
            self._changed.notify_all()

    def _renew(self, alias: str, old: Sequence[EntryPlace], now: float) -> None:
        with self._changed:
            old = [p for p in old if p.alias == alias and p in self._held]
        for rows in self._rows(alias, old):
            rows.update(seen=Now())
        with self._changed:
            self._held.update({p: now for p in old if p in self._held})

    def _rows(
        self, alias: str, places: Sequence[EntryPlace]
    ) -> Iterator[QuerySet[OutboxEntry]]:
        """Yield the rows in one database that are this process's, in portions."""
        pks = [place.pk for place in places if place.alias == alias]
        mine = OutboxEntry.objects.using(alias).filter(owner=self.owner)
        for begin in range(0, len(pks), PORTION):
            yield mine.filter(pk__in=pks[begin : begin + PORTION])


_tracker = Tracker()


def get_tracker() -> Tracker:
    """Return the tracker of this process."""
    return _tracker


def shut_down() -> None:
    """Forget the rows of this process and end the thread; tests use this."""
    global _tracker
    tracker, _tracker = _tracker, Tracker()
    tracker.stop()


def _at_end() -> None:
    """Delete what has been sent, or other processes would tell it again."""
    if _tracker.waiting():
        flush()
        _tracker.finish(remaining(get_settings().flush_timeout))


before_end(_at_end)
metrics.gauge("outbox", lambda: _tracker.waiting())


@after_in_child
def _after_fork() -> None:
    # The parent tells its own changes; its thread does not exist here.
    global _tracker
    _tracker = Tracker()
