"""
The time from which a process sends or serves, and the functions to call then.

They are called once in each process, and again in a forked one when it begins. Work in
the background starts there, and not when modules are imported: a server may fork later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from turbo.runtime.forks import after_in_child

__all__ = ["begin", "when_begun"]

logger = logging.getLogger("turbo.failures")

_callbacks: list[Callable[[], object]] = []
_has_begun = False
#: Those that have failed, which are called again when something else begins.
_failed: list[Callable[[], object]] = []


def when_begun(callback: Callable[[], object]) -> None:
    """Call ``callback()`` when this process begins to send or to serve."""
    if callback not in _callbacks:
        _callbacks.append(callback)
        if _has_begun:
            _call(callback)


def begin() -> None:
    """Note that this process sends or serves."""
    global _has_begun
    due = [*_failed] if _has_begun else [*_callbacks]
    _has_begun = True
    _failed.clear()
    for callback in due:
        _call(callback)


def _call(callback: Callable[[], object]) -> None:
    try:
        callback()
    except Exception:  # what begins has to go on
        logger.exception("A callback failed at the beginning of the process.")
        _failed.append(callback)


@after_in_child
def _after_fork() -> None:
    global _has_begun
    _has_begun = False
    _failed.clear()
