"""A page that remembers what it has shown, and that can sleep and be slow."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.faults.records import Place, Record
from tests.support.clients import LivePage
from tests.testapp.streams import Counter

__all__ = ["Page"]


class Page(LivePage):
    """A page of one stream, which connects to the servers in turns."""

    def __init__(self, urls: Sequence[str], stream: int) -> None:
        # A browser finds out in this way, too, that a server is gone.
        limits = {"open_timeout": 10, "ping_interval": 5, "ping_timeout": 10}
        signed = Counter(stream).signed_stream_name
        super().__init__(urls, signed, **limits)
        self.record = Record(stream)
        self._reads = asyncio.Event()
        self._reads.set()

    async def sleep(self, seconds: float) -> None:
        """Be away for some time, as when the lid of a laptop is closed."""
        self.away = seconds
        self.cut()
        await asyncio.sleep(seconds)
        self.away = 0.0

    async def be_slow(self, seconds: float) -> None:
        """Read nothing for some time."""
        self._reads.clear()
        await asyncio.sleep(seconds)
        self._reads.set()

    async def _hear(self, frame: dict[str, Any], socket: Any) -> None:
        await self._reads.wait()
        subscribed, gaps, shown = self.subscribed, self.gaps, len(self.data)
        await super()._hear(frame, socket)
        if self.gaps > gaps or self.subscribed > subscribed == 0:
            self.record.reset(time.monotonic(), Place.parse(frame["position"]))
        elif len(self.data) > shown:
            text = self.data.pop().split("<template>")[1]
            writer, number, _ = text.split(" ", 2)
            self.record.show(Place.parse(frame["position"]), writer, int(number))
