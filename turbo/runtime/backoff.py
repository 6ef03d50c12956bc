"""
Retries with growing pauses, and one log message for each outage.

:class:`Backoff` computes how long to wait. :class:`OutageLog` logs one message when
something cannot be reached, and one when it can be reached again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

from turbo.runtime.forks import Lock

__all__ = ["Backoff", "OutageLog"]

T = TypeVar("T")

Sleep: TypeAlias = Callable[[float], Awaitable[object]]

#: Seconds to wait after the first failure; each further failure doubles them.
FIRST = 0.1
#: The longest pause, in seconds.
MOST = 2.0


class OutageLog:
    """
    Logs the beginning and the end of each outage; any thread may use it.

    ``down`` is the message for the beginning, with ``%(type)s`` and ``%(error)s`` for
    the exception, and ``up`` the message for the end.
    """

    def __init__(self, logger: logging.Logger, *, down: str, up: str) -> None:
        self.is_down = False
        self._logger = logger
        self._down_line = down
        self._up_line = up
        self._lock = Lock()  # held while is_down changes

    def down(self, error: BaseException) -> bool:
        """Note a failure; return whether an outage begins with it."""
        with self._lock:
            if self.is_down:
                return False
            self.is_down = True
        details = {"type": type(error).__name__, "error": error}
        self._logger.error(self._down_line, details)
        return True

    def up(self, *, unless: Callable[[], object] | None = None) -> bool:
        """
        Note a success; return whether it ends an outage.

        The outage goes on if ``unless()`` returns a true value. It is called while the
        lock is held, so no failure can be noted meanwhile.
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
    The pauses between attempts.

    There is no pause after the first ``free`` failures, because an idle connection may
    have been closed.
    """

    __slots__ = ("_free", "_pause", "_sleep", "failures")

    def __init__(self, *, free: int = 0, sleep: Sleep = asyncio.sleep) -> None:
        #: The number of failures since the last success.
        self.failures = 0
        self._free = free
        self._pause = FIRST
        self._sleep = sleep

    def reset(self) -> None:
        """Note a success."""
        self.failures, self._pause = 0, FIRST

    def fail(self) -> float:
        """Note a failure; return the seconds to wait."""
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
        is_fatal: Callable[[Exception], bool] | None = None,
    ) -> T:
        """
        Call ``attempt()`` until it succeeds, and return its result.

        A fatal exception is raised, because the next attempt would fail as well.
        """
        while True:
            try:
                result = await attempt()
            except Exception as error:
                if is_fatal is not None and is_fatal(error):
                    raise
                if pause := self.fail():
                    if outage is not None:
                        outage.down(error)
                    await self._sleep(pause)
            else:
                if outage is not None:
                    outage.up()
                return result
