"""
Doing without the store while it is out of reach.

A save must go on, so whatever could not be written is owed: the bindings concerned are
noted here, and once the store answers again they are marked to be filled anew. Until
then this process reads from the database.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from redis.exceptions import RedisError

from turbo import metrics
from turbo.bindings.cache.notify import tell_unknown
from turbo.bindings.store import Slot, Store, get_store
from turbo.runtime.backoff import Backoff, OutageLog
from turbo.runtime.forks import after_in_child

__all__ = ["Unreachable", "invalidate", "is_reachable", "owe", "with_store"]

logger = logging.getLogger("turbo.bindings")

T = TypeVar("T")

_ERRORS = (RedisError, OSError)


class Unreachable(Exception):
    """The store does not answer. Never leaves this package."""


class Outage:
    """Whether the store is out of reach for this process, and what is owed to it."""

    def __init__(self) -> None:
        self._owed: set[str] = set()  # its operations are atomic
        self._log = OutageLog(
            logger,
            down="Bindings wait: %(type)s: %(error)s",
            up="Bindings are kept up to date again.",
        )

    @property
    def is_down(self) -> bool:
        return self._log.is_down

    def note(self, error: Exception) -> None:
        """Take note of a failure; the first one starts the way back."""
        if self._log.down(error):
            thread = threading.Thread(
                target=self._come_back, name="turbo-bindings", daemon=True
            )
            thread.start()

    def owe(self, group: str) -> None:
        """Note that the bindings of a class miss a change; a failure is noted next."""
        self._owed.add(group)

    def pay(self) -> None:
        """Let all that is owed be filled anew."""
        store = get_store()
        store.ping()
        while (group := self._next()) is not None:
            try:
                for name in store.names([group])[0]:
                    invalidate(store, Slot(group, name))
            except BaseException:
                self.owe(group)
                raise

    def _next(self) -> str | None:
        try:
            return self._owed.pop()
        except KeyError:
            return None

    def _come_back(self) -> None:
        backoff = Backoff()
        while True:
            time.sleep(backoff.fail())
            try:
                self.pay()
            except _ERRORS:
                continue
            if self._log.up(unless=lambda: self._owed):
                return
            backoff.reset()  # the store answers, and more is owed by now


_outage = Outage()


def with_store(work: Callable[[Store], T]) -> T:
    """
    Return what ``work`` does with the store.

    Raises :exc:`Unreachable` where it is out of reach, without trying if that is known.
    """
    if _outage.is_down:
        raise Unreachable
    try:
        return work(get_store())
    except _ERRORS as error:
        _outage.note(error)
        raise Unreachable from error


def is_reachable() -> bool:
    """Return whether the store answered when it was last asked."""
    return not _outage.is_down


def owe(group: str, error: Exception) -> None:
    """Note that a change could not be written to the bindings of a class."""
    metrics.count("failed")
    _outage.owe(group)
    _outage.note(error)


def invalidate(store: Store, slot: Slot) -> None:
    """Let a binding be filled again, by the first who reads it or listens to it."""
    applied = store.invalidate(slot)
    if applied is not None and applied.has_listeners:
        tell_unknown(slot)


@atexit.register
def _at_exit() -> None:
    if _outage.is_down:
        try:
            _outage.pay()
        except _ERRORS as error:
            logger.error("Bindings miss changes; run turbo_bindings sync: %s", error)


@after_in_child
def _after_fork() -> None:
    # What the parent owes, it pays itself; its thread is not here.
    global _outage
    _outage = Outage()
