"""What would be logged for each message or connection is logged once a minute."""

from __future__ import annotations

import time

__all__ = ["once_a_minute"]

PAUSE = 60.0

#: When each kind was logged last; there are as many as there are calls in the code.
_last: dict[str, float] = {}


def once_a_minute(kind: str) -> bool:
    """Return whether nothing of this kind was logged in the last minute."""
    now = time.monotonic()
    if now - _last.get(kind, -PAUSE) < PAUSE:
        return False
    _last[kind] = now
    return True
