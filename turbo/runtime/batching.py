"""
Questions that are asked at the same time are answered in batches.

A thousand pages that come back at once would take a thousand visits to the database and
as many round trips to Redis. Whoever asks while an answer is on its way waits for the
next one, which is for all who wait. If an answer takes long, the next one does not wait
for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context
from functools import wraps
from itertools import chain
from typing import Generic, ParamSpec, TypeVar, cast

from turbo.runtime.loops import PerLoop

__all__ = ["batched", "deduplicated", "limited"]

P = ParamSpec("P")
R = TypeVar("R")
Q = TypeVar("Q")
A = TypeVar("A")
K = TypeVar("K", bound=Hashable)

#: Questions answered at once.
MOST = 50
#: Seconds after which those who wait do not wait for the answer on its way any longer.
PATIENCE = 0.1
#: Answers that may be on their way at once.
OVERLAPPING = 3


def batched(
    answer: Callable[[list[Q]], Awaitable[Sequence[A]]],
) -> Callable[[Q], Awaitable[A]]:
    """
    Let a function that answers many questions be asked one at a time.

    It is awaited in no context in particular, for it works for whoever asks. What it
    raises, everybody gets who waited for that answer.
    """
    tables = PerLoop(lambda: _Table(answer))

    @wraps(answer)
    async def ask(question: Q) -> A:
        return await tables.get().ask(question)

    return ask


def limited(
    count: int,
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
    """Let so many calls of a coroutine function run at once; others wait outside."""

    def decorate(work: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        rooms = PerLoop(lambda: asyncio.Semaphore(count))

        @wraps(work)
        async def enter(*args: P.args, **kwargs: P.kwargs) -> R:
            async with rooms.get():
                return await work(*args, **kwargs)

        return enter

    return decorate


async def deduplicated(
    asked: Sequence[Sequence[K]], answer: Callable[[list[K]], Awaitable[Sequence[A]]]
) -> list[list[A]]:
    """Return the answers to lists of questions, of which none is asked twice."""
    questions = list(dict.fromkeys(chain.from_iterable(asked)))
    answers = await answer(questions) if questions else []
    known = dict(zip(questions, answers, strict=True))
    return [[known[question] for question in some] for some in asked]


class _Table(Generic[Q, A]):
    """Where the questions of one event loop wait."""

    def __init__(self, answer: Callable[[list[Q]], Awaitable[Sequence[A]]]) -> None:
        self._answer = answer
        self._waiting: deque[tuple[Q, asyncio.Future[A]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def ask(self, question: Q) -> A:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[A] = loop.create_future()
        self._waiting.append((question, future))
        if not self._tasks:
            self._start()
        elif self._timer is None:
            self._timer = loop.call_later(PATIENCE, self._overlap)
        return await future

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks.add(loop.create_task(self._work(), context=Context()))

    def _overlap(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        if len(self._tasks) < OVERLAPPING:
            self._start()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(PATIENCE, self._overlap)

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._reply(self._take())
        finally:
            self._tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))
            if not self._tasks:
                for _, future in self._take():
                    future.cancel()  # the loop ends

    def _take(self) -> list[tuple[Q, asyncio.Future[A]]]:
        count = min(MOST, len(self._waiting))
        return [self._waiting.popleft() for _ in range(count)]

    async def _reply(self, asked: list[tuple[Q, asyncio.Future[A]]]) -> None:
        try:
            answers = await self._answer([question for question, _ in asked])
        except Exception as error:
            for _, future in asked:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), found in zip(asked, answers, strict=True):
                if not future.done():  # whoever asked may have gone
                    future.set_result(found)
        finally:
            for _, future in asked:
                future.cancel()  # without effect on those that are done
