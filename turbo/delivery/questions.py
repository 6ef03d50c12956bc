"""Questions to the log whose answer somebody waits for, such as a page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent import futures
from concurrent.futures import Future
from typing import TypeVar

from turbo.runtime.failures import is_outage
from turbo.runtime.loops import in_loop

__all__ = ["Questions", "Unanswered"]

R = TypeVar("R")

#: Seconds that a page waits for an answer.
PATIENCE = 1.0
#: Seconds that a page waits which is rendered on an event loop: others wait with it.
PATIENCE_OF_LOOP = 0.25
#: After so many times the patience, a question without an answer is forgotten.
STALE = 5


class Unanswered(Exception):
    """There was no answer in time, or the question failed with the error ``reason``."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Questions:
    """
    Questions of any thread to the log, which may hang without an error.

    After one that got no answer in time, or found no log, the next ones do not wait:
    now and then one of them asks only to find out whether there are answers again. Of
    several hosts of a log, one that hangs counts for all of them.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = loop
        self._clock = clock
        # Any thread reads and writes these; at worst one asks too much.
        self._is_answered = True
        self._asked_at = 0.0

    def ask(self, question: Callable[[], Awaitable[R]]) -> R:
        """
        Return the answer to a question, which is asked on the loop.

        Raises :exc:`Unanswered` if there is none in time, and at once if it is not
        worth waiting. Whatever else comes is from a handler of a signal.
        """
        asked = self._begin(question)
        futures.wait([asked], PATIENCE_OF_LOOP if in_loop() else PATIENCE)
        return self._answer_of(asked)

    async def aask(self, question: Callable[[], Awaitable[R]]) -> R:
        """Async version of ask()."""
        asked = self._begin(question)
        try:
            await asyncio.wait([asyncio.wrap_future(asked)], timeout=PATIENCE)
            return self._answer_of(asked)
        finally:
            asked.cancel()

    def _answer_of(self, asked: Future[R]) -> R:
        if not asked.done():
            self._is_answered = False
            raise Unanswered(TimeoutError("The log does not answer."))
        try:
            return asked.result()
        except Exception as error:
            raise Unanswered(error) from error

    def _begin(self, question: Callable[[], Awaitable[R]]) -> Future[R]:
        now = self._clock()
        quiet = now - self._asked_at
        # What was found out long ago tells nothing.
        waits = self._is_answered or quiet >= STALE * PATIENCE
        if waits or quiet >= PATIENCE:
            self._asked_at = now
            asking = self._ask(question)
            asked = asyncio.run_coroutine_threadsafe(asking, self._loop)
            if waits:
                return asked
        raise Unanswered(TimeoutError("The log did not answer the last question."))

    async def _ask(self, question: Callable[[], Awaitable[R]]) -> R:
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await question()
        except Exception as error:
            self._is_answered = not is_outage(error)
            raise
        self._is_answered = True
        return answer
