"""
Messages that get no number and are not stored, such as the steps of growing text.

Who shows the stream now gets them, unless they are lost on the way. They do not wait
for transactions.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from turbo.replay import get_replay
from turbo.replay.base import RoutingLog

__all__ = ["ShownBy", "Unnumbered"]

#: Seconds for which it is remembered which processes show a stream.
AGE = 1.0


class Unnumbered(NamedTuple):
    """A message for who shows a stream now."""

    stream: str
    data: str


class ShownBy:
    """Which processes show a stream, as the log has known it lately."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, tuple[str, ...] | None]] = {}

    async def of(self, streams: Sequence[str]) -> list[tuple[str, ...] | None]:
        """Return the channels that show each stream, or ``None`` if unknown."""
        log, now = get_replay(), time.monotonic()
        if not isinstance(log, RoutingLog):
            return [None] * len(streams)
        self._known = {s: k for s, k in self._known.items() if k[0] > now - AGE}
        if asked := [s for s in dict.fromkeys(streams) if s not in self._known]:
            found = await log.shown_by(asked)
            self._known.update(zip(asked, ((now, f) for f in found), strict=True))
        return [self._known[stream][1] for stream in streams]
