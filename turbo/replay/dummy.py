"""A replay log that keeps nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence

from turbo.replay.base import Append, Appended, History
from turbo.replay.local import LocalReplay
from turbo.replay.positions import Moment

__all__ = ["DummyReplay"]


class DummyReplay(LocalReplay):
    """
    A log without positions and replay: messages that nobody receives are lost silently.

    There are no epochs, so a page only sends a moment or nothing. Every history is
    empty and counts as complete, because pages would otherwise refresh themselves for
    ever. Revocations apply within this process.
    """

    supports_processes = True
    supports_replay = False

    def __init__(
        self, *, length: int = 1, age: float = 1.0, text_age: float = 3_600.0
    ) -> None:
        super().__init__(length=length, age=age, text_age=text_age)

    def moment(self) -> str:
        """Return the time of this machine; revocations are compared with it."""
        return str(Moment(time.time_ns() // 1_000, ("dummy",)))

    def tick(self) -> int:
        """Return the time of this machine."""
        return time.time_ns() // 1_000

    async def append(self, appends: Sequence[Append]) -> list[Appended]:
        """Return no positions: the epoch is empty and the number 0."""
        return [Appended("", 0) for _ in appends]

    async def read(self, requests: Sequence[tuple[str, str]]) -> list[History]:
        """Return empty histories."""
        return [History("", 0) for _ in requests]

    async def tips(self, streams: Sequence[str]) -> list[tuple[str, int] | None]:
        """Return positions without an epoch."""
        return [("", 0) for _ in streams]
