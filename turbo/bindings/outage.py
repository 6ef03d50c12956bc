"""
Doing without the store while it is out of reach.

A save must go on, so whatever could not be written is owed: the bindings concerned are
noted here, and once the store answers again they are marked to be filled anew. Until
then this process reads from the database.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable
from typing import TypeVar

from redis.exceptions import RedisError

from turbo import metrics
from turbo.bindings.store import Slot, Store, get_store
from turbo.bindings.telling import tell_unknown

__all__ = ["Unreachable", "owe", "with_store"]

logger = logging.getLogger("turbo.bindings")

T = TypeVar("T")

_ERRORS = (RedisError, OSError)


class Unreachable(Exception):
    """The store does not answer. Never leaves this package."""


class Outage:
    """Whether the store is out of reach for this process, and what is owed to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # owns all below
        self._is_down = False
        self._owed: set[tuple[str, bool]] = set()  # group, whether it is listed

    @property
    def is_down(self) -> bool:
        return self._is_down

    def note(self, error: Exception) -> None:
        """Take note of a failure; the first one starts the way back."""
        with self._lock:
            if self._is_down:
                return
            self._is_down = True
        logger.error("Bindings wait: %s: %s", type(error).__name__, error)
        thread = threading.Thread(
            target=self._come_back, name="turbo-bindings", daemon=True
        )
        thread.start()

    def owe(self, slot: Slot) -> None:
        """Note that the bindings of a class miss a change."""
        metrics.count("failed")
        with self._lock:
            self._owed.add((slot.group, slot.listed))

    def pay(self) -> bool:
        """Let all that is owed be filled anew; return whether nothing is left."""
        store = get_store()
        store.ping()
        while self._owed:
            with self._lock:
                group, listed = next(iter(self._owed))
            for name in store.names(group):
                slot = Slot(group, name, listed)
                applied = store.invalidate(slot)
                if applied is not None and applied.heeded:
                    tell_unknown(slot)
            with self._lock:
                self._owed.discard((group, listed))
        with self._lock:
            self._is_down = bool(self._owed)
        return not self._is_down

    def _come_back(self) -> None:
        pause, wait = 0.05, threading.Event()
        while True:
            wait.wait(pause)
            try:
                if self.pay():
                    break
            except _ERRORS:
                pause = min(pause * 2, 2.0)
        logger.warning("Bindings are kept up to date again.")


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


def owe(slot: Slot) -> None:
    """Note that a change could not be written to the bindings of a class."""
    _outage.owe(slot)
    _outage.note(ConnectionError("a change was not written"))


@atexit.register
def _at_exit() -> None:
    if _outage.is_down:
        try:
            _outage.pay()
        except _ERRORS as error:
            logger.error("Bindings miss changes; run turbo_bindings sync: %s", error)


def _after_fork() -> None:
    # What the parent owes, it pays itself; its thread is not here.
    global _outage
    _outage = Outage()


os.register_at_fork(after_in_child=_after_fork)
