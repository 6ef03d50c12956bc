"""
Methods that clients may call::

    class UserConsumer(GenericAsyncAPIConsumer):
        @action()
        def rename(self, pk, name, **kwargs):
            …
            return {"name": name}, 200

    → {"action": "rename", "request_id": 5, "pk": 1, "name": "Ann"}
    ← {"action": "rename", "errors": [], "response_status": 200, "request_id": 5,
       "data": {"name": "Ann"}}
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from turbo.exceptions import DecoratorError
from turbo.observers.wire.requests import check_signature
from turbo.runtime.threads import database_sync_to_async

__all__ = ["action", "detached", "find_actions", "is_detached"]

_NAME = "turbo_action"
_DETACHED = "turbo_detached"
#: Attributes of consumers that no action may hide.
_ATTRIBUTES = frozenset(
    {
        "detached_tasks",
        "groups",
        "link",
        "revocations",
        "scope",
        "subscriptions",
        "turns",
        "visitor",
    }
)


def action(
    *,
    atomic: bool | None = None,
    detached: bool | None = None,
    name: str | None = None,
    **kwargs: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """
    Let clients call a method; it returns ``(data, status)``, or sends its own answers.

    A synchronous method runs in a thread, where it may use the database, and with
    ``atomic`` in a transaction; the default is ``ATOMIC_REQUESTS`` of the database. A
    ``detached`` coroutine runs in parallel with further actions of the client. All
    other arguments, such as ``docs="…"``, are for your own code, which finds them in
    the method's attribute ``kwargs``.
    """
    for given in kwargs:
        if meant := get_close_matches(given, ("atomic", "detached", "name")):
            raise DecoratorError(
                f"action() does not know {given!r}: do you mean {meant[0]!r}?"
            )

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        check_signature(function)
        asynchronous = inspect.iscoroutinefunction(function)
        if asynchronous and atomic:
            raise DecoratorError(
                f"{function.__qualname__}() is a coroutine, which cannot run in a "
                f"transaction of Django. Make it a plain method, or remove atomic=True."
            )
        if detached:
            _check_coroutine(function)
        method = function if asynchronous else _in_thread(function, atomic)
        method.kwargs = kwargs  # type: ignore[attr-defined]
        setattr(method, _NAME, name or function.__name__)
        setattr(method, _DETACHED, detached)
        return method

    return mark


def detached(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a coroutine method run in parallel with other actions of its consumer."""
    _check_coroutine(function)

    @functools.wraps(function)
    async def start(self: Any, *args: Any, **kwargs: Any) -> None:
        self.run_detached(function(self, *args, **kwargs))

    return start


def find_actions(cls: type) -> dict[str, str]:
    """Return the actions of a consumer class, as a dict from action to method name."""
    found = ((inspect.getattr_static(cls, name, None), name) for name in dir(cls))
    actions = {
        getattr(method, _NAME): name for method, name in found if hasattr(method, _NAME)
    }
    for name, method in actions.items():
        if method in _ATTRIBUTES:
            raise DecoratorError(
                f"{cls.__qualname__}.{method}() would hide an attribute of consumers. "
                f"Give the method another name, and keep that of the action: "
                f"@action(name={name!r})."
            )
    return actions


def is_detached(method: Callable[..., Any]) -> bool:
    """Return whether an action runs in parallel with other actions."""
    return bool(getattr(method, _DETACHED, False))


def _check_coroutine(function: Callable[..., Any]) -> None:
    if not inspect.iscoroutinefunction(function):
        raise DecoratorError(
            f"{function.__qualname__}() is a plain method and cannot be detached. Make "
            f"it a coroutine."
        )


def _in_thread(function: Callable[..., Any], atomic: bool | None) -> Callable[..., Any]:
    @functools.wraps(function)
    async def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        wanted = _atomic_requests() if atomic is None else atomic
        call = transaction.atomic(function) if wanted else function
        return await database_sync_to_async(call)(self, *args, **kwargs)

    return run


def _atomic_requests() -> bool:
    return bool(connections[DEFAULT_DB_ALIAS].settings_dict["ATOMIC_REQUESTS"])
