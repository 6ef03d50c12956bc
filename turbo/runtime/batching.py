"""
Batches of questions that are asked at the same time.

A thousand pages that reconnect at once would need a thousand database queries and as
many round trips to Redis. A question that is asked while a batch is being answered
waits for the next batch, which answers all waiting questions. If a batch takes long,
the next one starts before it ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import wraps
from itertools import chain
from typing import Generic, ParamSpec, TypeVar, cast

from turbo.runtime.loops import PerLoop
from turbo.runtime.namespaces import bare_context, of_task

__all__ = ["batched", "deduplicated", "limited"]

P = ParamSpec("P")
R = TypeVar("R")
Q = TypeVar("Q")
A = TypeVar("A")
K = TypeVar("K", bound=Hashable)

#: The most questions in one batch.
MOST = 50
#: Seconds after which waiting questions start another batch.
PATIENCE = 0.1
#: The most batches that run at the same time.
OVERLAPPING = 3


def batched(
    answer: Callable[[list[Q]], Awaitable[Sequence[A]]],
) -> Callable[[Q], Awaitable[A]]:
    """
    Turn a function that answers many questions into one that takes a single question.

    ``answer`` runs in an empty context, because it works for several callers, which are
    all in one namespace. If it raises an exception, all callers of that batch get it.
    """
    tables: PerLoop[dict[str | None, _Table[Q, A]]] = PerLoop(dict)

    @wraps(answer)
    async def ask(question: Q) -> A:
        known, namespace = tables.get(), of_task()
        table = known.get(namespace)
        if table is None:
            table = known[namespace] = _Table(answer)
        try:
            return await table.ask(question)
        finally:
            if namespace is not None and table.is_idle:
                known.pop(namespace, None)

    return ask


def limited(
    count: int,
) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
    """Let at most ``count`` calls of a coroutine function run at the same time."""

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
    """Return the answers to lists of questions; equal questions are asked once."""
    questions = list(dict.fromkeys(chain.from_iterable(asked)))
    answers = await answer(questions) if questions else []
    known = dict(zip(questions, answers, strict=True))
    return [[known[question] for question in some] for some in asked]


class _Table(Generic[Q, A]):
    """The waiting questions of one event loop."""

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

    @property
    def is_idle(self) -> bool:
        return not (self._tasks or self._waiting)

    def _start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks.add(loop.create_task(self._work(), context=bare_context()))

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
                    future.cancel()  # the loop is ending

    def _take(self) -> list[tuple[Q, asyncio.Future[A]]]:
        count = min(MOST, len(self._waiting))
        return [self._waiting.popleft() for _ in range(count)]

    async def _reply(self, asked: list[tuple[Q, asyncio.Future[A]]]) -> None:
        try:
            answers = await self._answer([question for question, _ in asked])
            answered = list(zip(asked, answers, strict=True))
        except Exception as error:
            for _, future in asked:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), found in answered:
                if not future.done():  # the caller may have been cancelled
                    future.set_result(found)
        finally:
            for _, future in asked:
                future.cancel()  # has no effect if it is done
