"""A limit for messages that every connection could cause: once a minute."""

from __future__ import annotations

import time

__all__ = ["once_a_minute"]

PAUSE = 60.0

#: When each kind was last logged; there is one kind for each call in the code.
_last: dict[str, float] = {}


def once_a_minute(kind: str) -> bool:
    """Return whether a message of this kind may be logged now."""
    now = time.monotonic()
    if now - _last.get(kind, -PAUSE) < PAUSE:
        return False
    _last[kind] = now
    return True
