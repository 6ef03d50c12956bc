"""What logs have in common that share nothing with other processes."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Sequence

from turbo.replay.base import ReplayLog
from turbo.replay.expiring import ExpiringKeys

__all__ = ["LocalReplay"]


class LocalReplay(ReplayLog):
    """A log whose claims and revocations hold within this process."""

    def __init__(
        self,
        *,
        length: int,
        age: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(length=length, age=age)
        self._forbidden = ExpiringKeys(clock=clock)
        self._claims = ExpiringKeys(clock=clock)

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
        """Return a time of this log that no moment after now has."""

    async def forbidden(self, keys: Sequence[str]) -> list[int | None]:
        """Return the revocations within this process."""
        return [self._forbidden.get(key) for key in keys]
