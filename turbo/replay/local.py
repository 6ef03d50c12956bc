"""
The base class of logs that share nothing with other processes.

Their claims, revocations and leases are known to this process only.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from turbo.conf import get_settings
from turbo.replay.base import ReplayLog
from turbo.replay.leases import Leases, MemoryLeases
from turbo.replay.texts import MemoryTexts, Texts
from turbo.runtime.forks import Lock

__all__ = ["ExpiringKeys", "LocalReplay"]


class LocalReplay(ReplayLog):
    """A log whose claims and revocations hold within this process."""

    def __init__(
        self,
        *,
        length: int,
        age: float,
        text_age: float = 3_600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(length=length, age=age)
        self._texts = MemoryTexts(age=text_age, clock=clock)
        self._forbidden = ExpiringKeys(clock=clock)
        self._claims = ExpiringKeys(clock=clock)
        self._leases = MemoryLeases(clock=clock)

    @property
    def texts(self) -> Texts:
        """Where growing texts are kept beside the messages."""
        return self._texts

    @property
    def leases(self) -> Leases:
        """Where this process notes who is present in a stream."""
        return self._leases

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Return the keyword arguments from the settings."""
        return super().options() | {"text_age": get_settings().text_age}

    async def sync_clock(self) -> None:
        """Do nothing: there is no clock but this process's."""

    async def claim(self, key: str, *, seconds: float) -> float:
        """Take ``key`` within this process."""
        return self._claims.claim(key, seconds=seconds)

    async def forbid(self, keys: Sequence[str], *, seconds: int) -> None:
        """Note the revocations within this process."""
        now = self.tick()
        for key in keys:
            self._forbidden.put(key, now, seconds=seconds)

    @abstractmethod
    def tick(self) -> int:
        """Return the present time of this log; every later moment is after it."""

    async def forbidden(self, keys: Sequence[str]) -> list[int | None]:
        """Return the revocations within this process."""
        return [self._forbidden.get(key) for key in keys]


class ExpiringKeys:
    """A bounded mapping whose keys expire; any thread may use it."""

    def __init__(
        self, *, limit: int = 100_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._clock = clock
        self._lock = Lock()  # owns _held
        self._held: dict[str, tuple[int, float]] = {}  # key: value, deadline

    def put(self, key: str, value: int, *, seconds: float) -> None:
        """Keep ``value`` for some seconds, in place of an earlier one."""
        with self._lock:
            self._put(key, value, seconds)

    def get(self, key: str) -> int | None:
        """Return the value, or ``None``."""
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
