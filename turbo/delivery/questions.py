"""The questions to the log that pages ask while they are rendered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TypeVar

from turbo.runtime.failures import is_outage
from turbo.runtime.loops import in_loop

__all__ = ["Questions"]

R = TypeVar("R")

#: Seconds that a page waits for an answer.
PATIENCE = 1.0
#: Seconds that a page waits which is rendered on an event loop: others wait with it.
PATIENCE_OF_LOOP = 0.25


class Questions:
    """
    Questions of any thread to the log, which may hang without an error.

    After one that got no answer in time, or found no log, no page waits any more: now
    and then one of them asks only to find out whether there are answers again.
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

        Raises :exc:`TimeoutError` if there is none in time, and at once if it is not
        worth waiting.
        """
        asked = self._begin(question)
        try:
            return asked.result(PATIENCE_OF_LOOP if in_loop() else PATIENCE)
        except TimeoutError:
            self._is_answered = False
            raise

    async def aask(self, question: Callable[[], Awaitable[R]]) -> R:
        """Async version of ask()."""
        asked = self._begin(question)
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.wrap_future(asked)
        except TimeoutError:
            self._is_answered = False
            raise

    def _begin(self, question: Callable[[], Awaitable[R]]) -> Future[R]:
        now, is_answered = self._clock(), self._is_answered
        if is_answered or now >= self._asked_at + PATIENCE:
            self._asked_at = now
            answer = self._answer(question)
            asked = asyncio.run_coroutine_threadsafe(answer, self._loop)
            if is_answered:
                return asked
        raise TimeoutError("The log did not answer the last question.")

    async def _answer(self, question: Callable[[], Awaitable[R]]) -> R:
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await question()
        except Exception as error:
            self._is_answered = not is_outage(error)
            raise
        self._is_answered = True
        return answer
