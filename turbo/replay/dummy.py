"""A replay log that keeps nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence

from turbo.replay.base import Append, Appended, History, ReplayLog
from turbo.replay.expiring import ExpiringKeys

__all__ = ["DummyReplay"]


class DummyReplay(ReplayLog):
    """
    No positions and no replay: what is sent while nobody listens is lost silently.

    There are no epochs, so a page only ever says ``since="@"`` or ``since=""``. Any
    history is empty and called complete: to call it incomplete would make every page
    refresh itself for ever. Revocations hold within this process.
    """

    supports_processes = True
    supports_replay = False

    def __init__(self, *, length: int = 1, age: float = 1.0) -> None:
        super().__init__(length=length, age=age)
        self._forbidden = ExpiringKeys()
        self._claims = ExpiringKeys()

    def moment(self) -> str:
        """Return ``"@"``: a moment of which nothing is known."""
        return "@"

    async def append(self, appends: Sequence[Append]) -> list[Appended]:
        """Return no positions: the epoch is empty and the number 0."""
        return [Appended("", 0) for _ in appends]

    async def read(self, requests: Sequence[tuple[str, str]]) -> list[History]:
        """Return empty histories."""
        return [History("", 0) for _ in requests]

    async def tips(self, streams: Sequence[str]) -> list[tuple[str, int] | None]:
        """Return positions without an epoch."""
        return [("", 0) for _ in streams]

    async def sync_clock(self) -> None:
        """Do nothing: there is no clock."""

    async def claim(self, key: str, *, seconds: float) -> float:
        """Take ``key`` within this process."""
        return self._claims.claim(key, seconds=seconds)

    async def forbid(self, keys: Sequence[str], *, seconds: int) -> None:
        """Note the revocations within this process."""
        for key in keys:
            self._forbidden.put(key, time.time(), seconds=seconds)

    async def forbidden(self, keys: Sequence[str]) -> list[float | None]:
        """Return the revocations within this process."""
        return [self._forbidden.get(key) for key in keys]
