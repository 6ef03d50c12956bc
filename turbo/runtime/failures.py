"""
Logging of failures without filling the log.

Clients can cause most failures again and again. The same failure is logged once a
minute, with the number of times that it was not logged. The metric counts each one.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from django.db import InterfaceError, InternalError, OperationalError

from turbo import metrics
from turbo.runtime.forks import Lock

__all__ = ["FailureLog", "is_outage", "log_failure"]

logger = logging.getLogger("turbo.failures")

MINUTE = 60.0
#: How many different failures are remembered; the oldest one is dropped.
KEPT = 1_000
#: What a Redis answers whatever it is asked to write. Redis 6.2 has it in the error of
#: a script.
_WRITES_NOTHING = re.compile(r"(^|-)(BUSY|MISCONF|NOREPLICAS|OOM|READONLY|UNKILLABLE) ")
#: Exceptions of redis-py for what would be refused again.
_REFUSALS = {
    "ClusterCrossSlotError",
    "DataError",
    "ModuleError",
    "NoPermissionError",
}
#: What a PostgreSQL says that is not the primary, or not any more.
_READ_ONLY = "25006"


@dataclass(slots=True)
class _Seen:
    logged: float
    unsaid: int = 0


class FailureLog:
    """A log that repeats the same failure at most once a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: OrderedDict[Hashable, _Seen] = OrderedDict()
        self._lock = Lock()  # owns _seen

    def add(self, what: str, error: BaseException) -> None:
        """Log a failure with its traceback, at most once a minute."""
        metrics.count("failed")
        unsaid = self._unsaid(what, error)
        if unsaid is None:
            return
        more = f" It happened {unsaid} more times since." if unsaid else ""
        logger.error("%s%s", what, more, exc_info=error)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._seen.clear()

    def _unsaid(self, what: str, error: BaseException) -> int | None:
        """
        Return how many of these failures were not logged before this one.

        Return ``None`` if this one is not to be logged either.
        """
        key, now = (what, type(error), _place(error)), self._clock()
        with self._lock:
            seen = self._seen.get(key)
            if seen is not None and now - seen.logged < MINUTE:
                seen.unsaid += 1
                return None
            self._seen[key] = _Seen(now)
            self._seen.move_to_end(key)
            if len(self._seen) > KEPT:
                self._seen.popitem(last=False)
            return 0 if seen is None else seen.unsaid


def _place(error: BaseException) -> tuple[str, int] | None:
    """Return the file and the line where an error was raised."""
    traceback = error.__traceback__
    if traceback is None:
        return None
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback.tb_frame.f_code.co_filename, traceback.tb_lineno


failures = FailureLog()


def is_outage(error: BaseException) -> bool:
    """
    Return whether an exception says that something could not be reached.

    A server that writes nothing at the moment counts as well.

    >>> is_outage(ConnectionRefusedError()), is_outage(KeyError("data"))
    (True, False)
    """
    # TimeoutError is an OSError, too.
    if isinstance(error, (OSError, OperationalError, InterfaceError)):
        return True
    if isinstance(error, InternalError):
        return getattr(error.__cause__, "sqlstate", "") == _READ_ONLY
    redis: Any = sys.modules.get("redis.exceptions")  # else it is none of its errors
    if redis is None or not isinstance(error, redis.RedisError):
        return False
    if type(error) is redis.ResponseError:
        # The server has answered, and refuses what it was asked.
        return _WRITES_NOTHING.search(str(error)) is not None
    return type(error).__name__ not in _REFUSALS


def log_failure(what: str, error: BaseException) -> None:
    """Log a failure; ``what`` must not contain anything that a client chooses."""
    failures.add(what, error)
