"""Calling what may be slow for one client: permissions, and what finds objects."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable, iscoroutinefunction
from typing import Any, ParamSpec, TypeVar

from channels.db import database_sync_to_async

from turbo.runtime.threads import answer_of, in_turn, thread_waits

__all__ = ["ask", "ask_now", "in_turn_of"]

P = ParamSpec("P")
R = TypeVar("R")


async def ask(method: Any, /, *args: Any, **kwargs: Any) -> bool:
    """Return the answer of a permission's method, whichever kind that is."""
    if iscoroutinefunction(method):
        return bool(await method(*args, **kwargs))
    consumer = kwargs["consumer"] if "consumer" in kwargs else args[1]
    answer = await in_turn_of(consumer, method, *args, **kwargs)
    # A coroutine that some decorator hides is still to be asked.
    return bool(await answer if isawaitable(answer) else answer)


async def in_turn_of(
    consumer: Any, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
) -> R:
    """
    Return ``work(…)``, called in the turn of a consumer's user.

    It may be slow, so each user has one thread at a time. What is done for somebody who
    waits in a thread is done in that: it may be in a transaction.
    """
    if thread_waits():
        result: R = await database_sync_to_async(work)(*args, **kwargs)
        return result
    return await in_turn(consumer.visitor.budget.owner, work, *args, **kwargs)


def ask_now(method: Any, /, *args: Any, **kwargs: Any) -> bool:
    """Return the answer of a permission's method; for threads."""
    return bool(answer_of(method(*args, **kwargs)))
