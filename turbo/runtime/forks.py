"""
The registry of callbacks that run in forked processes.

A child process has none of its parent's threads and shares its sockets. Its locks are
held or free as they were at the fork.
"""

from __future__ import annotations

import inspect
import logging
import os
import threading
from collections.abc import Callable
from typing import TypeAlias, TypeVar
from weakref import ReferenceType, WeakMethod

__all__ = ["Lock", "after_in_child"]

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


class Lock:
    """
    A lock that nobody holds in a forked process, whoever held it in the parent.

    It must not be held by the thread that forks.
    """

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._renew()
        after_in_child(self._renew)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()

    def _renew(self) -> None:
        self._lock = threading.Lock()


def _forget(method: ReferenceType[Callable[[], None]]) -> None:
    _callbacks.pop(method, None)


def _call_all() -> None:
    for kept in list(_callbacks):
        callback = kept() if isinstance(kept, ReferenceType) else kept
        if callback is None:
            continue
        try:
            callback()
        except Exception:  # the other callbacks still have to run
            logger.exception("A callback failed in a forked process.")


os.register_at_fork(after_in_child=_call_all)
