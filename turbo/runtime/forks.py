"""
The registry of callbacks that run in forked processes, and what a fork has to wait for.

A child process has none of its parent's threads and shares its sockets. Its locks are
held or free as they were at the fork. Locks of Python can be made anew, but not those
in a C library such as SQLite: no thread may be in there when the process forks.
"""

from __future__ import annotations

import inspect
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias, TypeVar
from weakref import ReferenceType, WeakMethod

__all__ = ["Lock", "after_in_child", "delaying_forks"]

logger = logging.getLogger("turbo.failures")

Callback = TypeVar("Callback", bound=Callable[[], None])

#: Seconds that a fork waits for the threads that delay it.
PATIENCE = 1.0

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


class _Fence:
    """The threads that a fork waits for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside: dict[int, int] = {}  # the number of blocks that a thread is in
        self._forking = False

    @contextmanager
    def inside(self) -> Iterator[None]:
        own = threading.get_ident()
        with self._changed:
            if own not in self._inside:
                self._changed.wait_for(lambda: not self._forking, PATIENCE)
            self._inside[own] = self._inside.get(own, 0) + 1
        try:
            yield
        finally:
            with self._changed:
                self._inside[own] -= 1
                if not self._inside[own]:
                    del self._inside[own]
                    self._changed.notify_all()

    def before(self) -> None:
        with self._changed:
            self._forking = True
            self._changed.wait_for(self._only_own, PATIENCE)

    def _only_own(self) -> bool:
        return not self._inside.keys() - {threading.get_ident()}

    def in_parent(self) -> None:
        with self._changed:
            self._forking = False
            self._changed.notify_all()

    def in_child(self) -> None:
        self._changed = threading.Condition()
        own = threading.get_ident()
        self._inside = {i: n for i, n in self._inside.items() if i == own}
        self._forking = False


_fence = _Fence()
#: A process forks after this block, or when it has waited for ``PATIENCE`` seconds.
delaying_forks = _fence.inside

os.register_at_fork(
    before=_fence.before,
    after_in_parent=_fence.in_parent,
    after_in_child=_fence.in_child,
)
os.register_at_fork(after_in_child=_call_all)
