"""Values that this process keeps for some seconds: claims and revocations."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["ExpiringKeys"]


class ExpiringKeys:
    """A bounded mapping whose keys go away; any thread may use it."""

    def __init__(
        self, *, limit: int = 100_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()  # owns _held
        self._held: dict[str, tuple[int, float]] = {}  # key: value, deadline

    def put(self, key: str, value: int, *, seconds: float) -> None:
        """Keep ``value`` for some seconds, in place of what was kept."""
        with self._lock:
            self._put(key, value, seconds)

    def get(self, key: str) -> int | None:
        """Return the value kept, or ``None``."""
        with self._lock:
            value, deadline = self._held.get(key, (0, 0.0))
            return value if deadline > self._clock() else None

    def claim(self, key: str, *, seconds: float) -> float:
        """Take ``key`` and return ``0.0``, or the seconds until it is free."""
        with self._lock:
            _, deadline = self._held.get(key, (0, 0.0))
            remaining = deadline - self._clock()
            if remaining > 0:
                return remaining
            self._put(key, 0, seconds)
            return 0.0

    def _put(self, key: str, value: int, seconds: float) -> None:
        now = self._clock()
        self._held.pop(key, None)
        if len(self._held) >= self._limit:
            self._sweep(now)
        self._held[key] = (value, now + seconds)

    def _sweep(self, now: float) -> None:
        self._held = {key: held for key, held in self._held.items() if held[1] > now}
        while len(self._held) >= self._limit:
            self._held.pop(next(iter(self._held)))
