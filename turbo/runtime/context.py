"""
The state of the current request or task, each in a context variable.

Context variables follow a request through threads and tasks (asgiref copies them), and
no request sees those of another one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

__all__ = [
    "Cause",
    "cause",
    "cause_scope",
    "current_since",
    "first_time",
    "immediately",
    "is_immediate",
    "is_reporting",
    "report_scope",
    "request_id",
    "request_scope",
    "set_since",
    "suppress",
    "suppressed",
    "writer",
]

_PROCESS = os.urandom(6).hex()
_suppressed: ContextVar[bool] = ContextVar("turbo_suppressed", default=False)
_immediate: ContextVar[bool] = ContextVar("turbo_immediate", default=False)
_done: ContextVar[set[Hashable] | None] = ContextVar("turbo_done", default=None)
_request_id: ContextVar[str] = ContextVar("turbo_request_id", default="")
_since: ContextVar[str] = ContextVar("turbo_since", default="")


@dataclass(frozen=True, slots=True)
class Cause:
    """
    The change that a broadcast reports.

    It shows whether a later change has overtaken the broadcast. ``key`` names the
    object, ``writer`` the thread that changed it, and ``moment`` is a moment of the
    replay log that was read before the change was committed.
    """

    key: str
    writer: str
    moment: str


_cause: ContextVar[Cause | None] = ContextVar("turbo_cause", default=None)


def writer() -> str:
    """Return a name of this thread that no other one has, in any process."""
    return f"{_PROCESS}{os.getpid()}.{threading.get_ident()}"


@contextmanager
def suppress() -> Iterator[None]:
    """
    Ignore changes inside the block; also a decorator.

    Use it for seeds, imports and migrations::

        with turbo.suppress():
            Message.objects.create(room=room, text="not announced")
    """
    token = _suppressed.set(True)
    try:
        yield
    finally:
        _suppressed.reset(token)


def suppressed() -> bool:
    """Return whether changes are ignored at present."""
    return _suppressed.get()


@contextmanager
def immediately() -> Iterator[None]:
    """
    Send broadcasts at once, and not after the commit; also a decorator.

    Use it for what is true whether or not the transaction commits::

        with turbo.immediately():
            job.stream.update(text="Importing…", id="state")
    """
    token = _immediate.set(True)
    try:
        yield
    finally:
        _immediate.reset(token)


def is_immediate() -> bool:
    """Return whether broadcasts do not wait for transactions at present."""
    return _immediate.get()


@contextmanager
def report_scope() -> Iterator[None]:
    """Report committed changes inside the block: nothing in it waits for a commit."""
    immediate, done = _immediate.set(True), _done.set(set())
    try:
        yield
    finally:
        _immediate.reset(immediate)
        _done.reset(done)


def is_reporting() -> bool:
    """Return whether committed changes are being reported."""
    return _done.get() is not None


def first_time(what: Hashable) -> bool:
    """Return whether ``what`` is done for the first time for the reported changes."""
    done = _done.get()
    if done is None:
        return True
    if what in done:
        return False
    done.add(what)
    return True


@contextmanager
def request_scope(request_id: str) -> Iterator[None]:
    """Mark refreshes sent inside the block with the id of the request."""
    token = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(token)


def request_id() -> str:
    """Return the id of the current Turbo request, or ``""``."""
    return _request_id.get()


def set_since(moment: str) -> None:
    """Store a moment from before the current request read any data."""
    _since.set(moment)


def current_since() -> str:
    """Return the moment at which the current request began, or ``""``."""
    return _since.get()


@contextmanager
def cause_scope(cause: Cause) -> Iterator[None]:
    """Mark messages broadcast inside the block with the change that they report."""
    token = _cause.set(cause)
    try:
        yield
    finally:
        _cause.reset(token)


def cause() -> Cause | None:
    """Return the change that is being reported, if any."""
    return _cause.get()
