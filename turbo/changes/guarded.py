"""A decorator for receivers of signals, whose errors must not stop a write."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, ParamSpec

__all__ = ["guarded"]

logger = logging.getLogger(__name__)

P = ParamSpec("P")


def guarded(receiver: Callable[P, None]) -> Callable[P, None]:
    """Log the exceptions of ``receiver``, so that they do not stop the write."""

    @functools.wraps(receiver)
    def guard(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            receiver(*args, **kwargs)
        except Exception:
            instance: Any = kwargs["instance"]
            label = type(instance)._meta.label
            logger.exception("A change of %s %r was lost.", label, instance.pk)

    return guard
