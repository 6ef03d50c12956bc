"""
Trying again what failed, less and less often, and saying so once.

:class:`Backoff` knows how long to wait, :class:`OutageLog` what is in the log already:
one line when something is out of reach, one when it is back.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

__all__ = ["Backoff", "OutageLog"]

T = TypeVar("T")

Sleep: TypeAlias = Callable[[float], Awaitable[object]]

#: Seconds to wait after the first failure; each one that follows doubles them.
FIRST = 0.1
#: Seconds that are never exceeded.
MOST = 2.0


class OutageLog:
    """
    Whether something is out of reach, as any thread may find out.

    ``down`` is the line for the log, with ``%(type)s`` and ``%(error)s`` for what was
    raised, and ``up`` the line for when it is over.
    """

    def __init__(self, logger: logging.Logger, *, down: str, up: str) -> None:
        self.is_down = False
        self._logger = logger
        self._down_line = down
        self._up_line = up
        self._lock = threading.Lock()  # owns what is_down becomes

    def down(self, error: Exception) -> bool:
        """Take note of a failure; return whether it is the first one."""
        with self._lock:
            if self.is_down:
                return False
            self.is_down = True
        details = {"type": type(error).__name__, "error": error}
        self._logger.error(self._down_line, details)
        return True

    def up(self, *, unless: Callable[[], object] | None = None) -> bool:
        """
        Take note of a success; return whether that ends an outage.

        ``unless()``, which is asked while nobody can note a failure, may object.
        """
        if not self.is_down:
            return False
        with self._lock:
            if unless is not None and unless():
                return False
            was_down, self.is_down = self.is_down, False
        if was_down:
            self._logger.warning(self._up_line)
        return was_down


class Backoff:
    """
    The pauses of one who tries again.

    After the first ``free`` failures there is none: a connection may have died of age.
    """

    __slots__ = ("_free", "_pause", "_sleep", "failures")

    def __init__(self, *, free: int = 0, sleep: Sleep = asyncio.sleep) -> None:
        #: How often it has failed since it last succeeded.
        self.failures = 0
        self._free = free
        self._pause = FIRST
        self._sleep = sleep

    def reset(self) -> None:
        """Take note of a success."""
        self.failures, self._pause = 0, FIRST

    def fail(self) -> float:
        """Take note of a failure; return the seconds to wait."""
        self.failures += 1
        if self.failures <= self._free:
            return 0.0
        pause, self._pause = self._pause, min(2 * self._pause, MOST)
        return pause

    async def until_done(
        self,
        attempt: Callable[[], Awaitable[T]],
        *,
        outage: OutageLog | None = None,
        fatal: tuple[type[Exception], ...] = (),
    ) -> T:
        """
        Return what ``attempt()`` returns, however often it fails before.

        What is ``fatal`` is raised: it would be the same the next time.
        """
        while True:
            try:
                result = await attempt()
            except fatal:
                raise
            except Exception as error:
                if pause := self.fail():
                    if outage is not None:
                        outage.down(error)
                    await self._sleep(pause)
            else:
                if outage is not None:
                    outage.up()
                return result
