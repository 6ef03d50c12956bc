"""
Values that are kept from a signal before a write for the signals after it.

They are kept on the connection and dropped with the object that they belong to, so a
write that fails leaves nothing behind.
"""

from __future__ import annotations

import weakref
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["keep", "keeps_any", "peek", "take"]

_ATTRIBUTE = "_turbo_kept"


def keep(using: str, owner: Any, what: str, value: Any) -> None:
    """Keep ``value`` for a later signal."""
    kept = vars(connections[using]).setdefault(_ATTRIBUTE, {})
    key = (id(owner), what)
    kept[key] = weakref.ref(owner, lambda _: kept.pop(key, None)), value


def keeps_any(connection: BaseDatabaseWrapper) -> bool:
    """Return whether anything is kept on a connection."""
    return bool(vars(connection).get(_ATTRIBUTE))


def peek(using: str, owner: Any, what: str) -> Any:
    """Return the value that was kept, or ``None``."""
    kept = vars(connections[using]).get(_ATTRIBUTE, {})
    return kept.get((id(owner), what), (None, None))[1]


def take(using: str, owner: Any, what: str) -> Any:
    """Return the value that was kept, or ``None``, and drop it."""
    kept = vars(connections[using]).get(_ATTRIBUTE, {})
    return kept.pop((id(owner), what), (None, None))[1]
