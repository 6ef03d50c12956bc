"""Call code of the project that may be slow: permissions and object lookups."""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable, iscoroutinefunction
from typing import Any, ParamSpec, TypeVar

from turbo.runtime.threads import (
    answer_of,
    database_sync_to_async,
    in_turn,
    thread_waits,
)

__all__ = ["ask", "ask_now", "in_turn_of"]

P = ParamSpec("P")
R = TypeVar("R")


async def ask(method: Any, /, *args: Any, **kwargs: Any) -> bool:
    """Return the answer of a permission's method, which may be plain or async."""
    if iscoroutinefunction(method):
        return bool(await method(*args, **kwargs))
    consumer = kwargs["consumer"] if "consumer" in kwargs else args[1]
    answer = await in_turn_of(consumer, method, *args, **kwargs)
    # A decorator may hide that the method is a coroutine function.
    return bool(await answer if isawaitable(answer) else answer)


async def in_turn_of(
    consumer: Any, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
) -> R:
    """
    Call ``work`` in a thread, and return its result.

    As it may be slow, each user has one thread at a time. If the caller waits in a
    thread, ``work`` runs in that thread, because it may be inside a transaction.
    """
    if thread_waits():
        result: R = await database_sync_to_async(work)(*args, **kwargs)
        return result
    return await in_turn(consumer.visitor.budget.owner, work, *args, **kwargs)


def ask_now(method: Any, /, *args: Any, **kwargs: Any) -> bool:
    """Return the answer of a permission's method; call this in a thread only."""
    return bool(answer_of(method(*args, **kwargs)))
