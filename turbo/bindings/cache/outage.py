"""
Work without the store while it cannot be reached.

A save must not fail because of that. If a change could not be written to the store, its
classes of bindings are noted here, and once the store answers again their bindings are
marked to be filled anew. Until then this process reads from the database.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import Error as DatabaseError
from redis.exceptions import RedisError

from turbo import metrics
from turbo.bindings.cache.notify import tell_unknown
from turbo.bindings.store import Slot, Store, get_store
from turbo.runtime.backoff import Backoff, OutageLog
from turbo.runtime.endings import before_end
from turbo.runtime.failures import log_failure
from turbo.runtime.forks import after_in_child

__all__ = ["Unreachable", "invalidate", "is_reachable", "owe", "owes", "with_store"]

logger = logging.getLogger("turbo.bindings")

T = TypeVar("T")

#: What a store raises, also if it is there and refuses: tables may be missing.
_ERRORS = (RedisError, DatabaseError, OSError)


class Unreachable(Exception):
    """The store does not answer. This exception never leaves the package."""


class Outage:
    """Whether this process can reach the store, and which classes miss changes."""

    def __init__(self) -> None:
        self._owed: set[str] = set()  # its operations are atomic
        self._log = OutageLog(
            logger,
            down="The store of the bindings is out of reach: %(type)s: %(error)s",
            up="Bindings are kept up to date again.",
        )

    @property
    def is_down(self) -> bool:
        return self._log.is_down

    def note(self, error: BaseException) -> None:
        """Note a failure; the first one starts a thread that tries again."""
        if self._log.down(error):
            thread = threading.Thread(
                target=self._come_back, name="turbo-bindings", daemon=True
            )
            thread.start()

    @property
    def owes(self) -> bool:
        return bool(self._owed) or self.is_down

    def owe(self, group: str) -> None:
        """Note that the bindings of a class miss a change; call :meth:`note` next."""
        self._owed.add(group)

    def pay(self) -> None:
        """Mark all bindings that miss changes to be filled anew."""
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
            except BaseException as error:  # nobody else would try again
                log_failure("Bindings could not be brought up to date.", error)
                continue
            if self._log.up(unless=lambda: self._owed):
                return
            backoff.reset()  # the store answers, but more changes were missed meanwhile


_outage = Outage()


def with_store(work: Callable[[Store], T]) -> T:
    """
    Call ``work`` with the store, and return its result.

    Raises :exc:`Unreachable` if the store cannot be reached. During an outage it does
    so without trying.
    """
    if _outage.is_down:
        raise Unreachable
    try:
        return work(get_store())
    except _ERRORS as error:
        _outage.note(error)
        raise Unreachable from error


def is_reachable() -> bool:
    """Return whether the store answered the last call."""
    return not _outage.is_down


def owe(group: str, error: BaseException) -> None:
    """Note that a change could not be written to the bindings of a class."""
    metrics.count("failed")
    _outage.owe(group)
    _outage.note(error)


def owes() -> bool:
    """Return whether bindings may miss changes that only this process knows."""
    return _outage.owes


def invalidate(store: Store, slot: Slot) -> None:
    """Mark a binding to be filled anew by the next process that uses it."""
    applied = store.invalidate(slot)
    if applied is not None and applied.has_listeners:
        tell_unknown(slot)


@before_end
def _at_exit() -> None:
    if _outage.is_down:
        try:
            _outage.pay()
        except _ERRORS as error:
            logger.error("Bindings miss changes; run turbo_bindings sync: %s", error)


@after_in_child
def _after_fork() -> None:
    # The parent handles its own missed changes; its thread does not exist here.
    global _outage
    _outage = Outage()
