"""
What a process forgets when it is forked: the one place that registers for it.

A child has none of its parent's threads, shares its sockets, and finds its locks as
they were held at that instant.
"""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable
from typing import TypeAlias, TypeVar
from weakref import ReferenceType, WeakMethod

__all__ = ["after_in_child"]

logger = logging.getLogger("turbo.failures")

Callback = TypeVar("Callback", bound=Callable[[], None])

_Kept: TypeAlias = "Callable[[], None] | ReferenceType[Callable[[], None]]"

#: Functions, and weak references to methods, in the order of registration.
_callbacks: dict[_Kept, None] = {}


def after_in_child(callback: Callback) -> Callback:
    """
    Call ``callback()`` in each child process, in the order of registration.

    Also a decorator. A method does not keep its object alive.
    """
    if inspect.ismethod(callback):
        _callbacks[WeakMethod(callback, _forget)] = None
    else:
        _callbacks[callback] = None
    return callback


def _forget(method: ReferenceType[Callable[[], None]]) -> None:
    _callbacks.pop(method, None)


def _call_all() -> None:
    for kept in list(_callbacks):
        callback = kept() if isinstance(kept, ReferenceType) else kept
        if callback is None:
            continue
        try:
            callback()
        except Exception:  # the others have to know all the same
            logger.exception("A forked process cannot let go of its parent's things.")


os.register_at_fork(after_in_child=_call_all)
