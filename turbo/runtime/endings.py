"""
The end of a process, and the functions to call before it.

They are called when the process ends normally. Most processes do so with
:mod:`atexit`. Three kinds skip that:

* Children of :mod:`multiprocessing` call finalizers. They drop those of their parent
  when they start, so each one registers its own.
* Celery's worker processes send a signal.
* uvicorn ends itself with the signal that it got. Before that, it tells the application
  that its lifespan ends, and :mod:`turbo.asgi` calls :func:`finish`.
"""

from __future__ import annotations

import atexit
import logging
import sys
import time
from collections.abc import Callable
from multiprocessing import parent_process, util
from typing import Any, TypeVar

from turbo.runtime.forks import after_in_child

__all__ = ["before_end", "finish", "has_begun", "remaining"]

logger = logging.getLogger("turbo.failures")

Callback = TypeVar("Callback", bound=Callable[[], Any])

#: The priority of the finalizer; those of the application run before.
LAST = -100

_callbacks: list[Callable[[], Any]] = []
_begun: float | None = None


def before_end(callback: Callback) -> Callback:
    """Call ``callback()`` before this process ends, the last one first."""
    _callbacks.append(callback)
    return callback


def has_begun() -> bool:
    """Return whether the functions have been called, so nothing comes after this."""
    return _begun is not None


def remaining(timeout: float) -> float:
    """Return the rest of ``timeout`` seconds, counted from when the end has begun."""
    return timeout if _begun is None else max(0.0, _begun + timeout - time.monotonic())


@atexit.register
def _end() -> None:
    global _begun
    _begun = time.monotonic()
    finish()


def finish() -> None:
    """Call the functions now, because the process may be killed, or may go on."""
    for callback in reversed(_callbacks):
        try:
            callback()
        except Exception:  # the other callbacks still have to be called
            logger.exception("A callback failed at the end of the process.")


@after_in_child
def _after_fork() -> None:
    global _begun
    _begun = None
    if (celery := sys.modules.get("celery.signals")) is not None:
        celery.worker_process_shutdown.connect(_end_worker, dispatch_uid=__name__)


def _end_worker(**kwargs: object) -> None:
    _end()


def _finalize(end: Callable[[], None]) -> None:
    util.Finalize(None, end, exitpriority=LAST)


util.register_after_fork(_end, _finalize)
if parent_process() is not None:
    _finalize(_end)
