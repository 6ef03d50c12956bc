"""
A throttle that sends the first and the last of many similar messages.

The publisher's loop owns it. All processes together send at most one such message of a
stream within ``REFRESH_INTERVAL``: before sending, a process claims the interval in the
replay log. A message that has waited for ``REFRESH_MAX_WAIT`` is sent in any case.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count

from turbo.conf import get_settings
from turbo.replay import get_replay
from turbo.replay.base import Append
from turbo.runtime.batching import batched
from turbo.runtime.queue import IsSent

__all__ = ["Throttle"]


class Throttle:
    """The waiting messages, one per stream."""

    def __init__(self, send: Callable[[Append], None]) -> None:
        self._send = send
        self._numbers = count(1)  # of what is put or asked for, in order
        #: Messages that other threads have put here; each wakes the loop if none did.
        self._put: deque[tuple[int, Append, str]] = deque()
        self._is_woken = False
        self._pending: dict[str, Append] = {}
        #: The number of the first message since a stream was sent one.
        self._first: dict[str, int] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def put(
        self, loop: asyncio.AbstractEventLoop, message: Append, summary: str
    ) -> None:
        """Let ``loop`` call :meth:`ask`, from any thread."""
        self._put.append((next(self._numbers), message, summary))
        if not self._is_woken:
            self._is_woken = True
            loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        self._is_woken = False
        while self._put:
            number, message, summary = self._put[0]
            self.ask(message, summary, number=number)
            self._put.popleft()  # only now, so that waiting() never misses it

    def ask(
        self, message: Append, summary: str | None = None, *, number: int | None = None
    ) -> None:
        """
        Send ``message`` now, or when its stream may send again.

        If a different message is already waiting, ``summary`` replaces both, or a gap
        if one of them is a gap.
        """
        sid = message.stream
        waiting = self._pending.get(sid)
        if waiting is not None and waiting.data != message.data:
            gap = waiting.data is None or message.data is None
            message = Append(sid, None if gap else summary)
        self._first.setdefault(sid, number or next(self._numbers))
        self._pending[sid] = message
        if sid not in self._tasks:
            self._tasks[sid] = asyncio.ensure_future(self._wait(sid))

    def release(self) -> None:
        """Send all waiting messages."""
        self._take()
        for sid in list(self._pending):
            self._emit(sid)

    def waiting(self) -> int:
        """Return the number of waiting messages."""
        return len(self._pending) + len(self._put)

    def progress(self) -> IsSent:
        """Return a function that says whether what waits now is in the queue."""
        last = next(self._numbers)

        def is_sent() -> bool:
            numbers = [number for number, _, _ in list(self._put)]
            return min([*numbers, *list(self._first.values())], default=last) >= last

        return is_sent

    async def stop(self) -> None:
        """Drop all waiting messages and cancel the tasks."""
        self._put.clear()
        self._pending.clear()
        self._first.clear()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _wait(self, sid: str) -> None:
        try:
            while sid in self._pending:
                await self._turn(sid)
                self._emit(sid)
        finally:
            del self._tasks[sid]

    async def _turn(self, sid: str) -> None:
        settings = get_settings()
        waited = 0.0
        while waited < settings.refresh_max_wait:
            pause = await _claim(sid)
            if not pause:
                return
            await asyncio.sleep(pause)
            waited += pause

    def _emit(self, sid: str) -> None:
        if (message := self._pending.pop(sid, None)) is not None:
            self._send(message)
            self._first.pop(sid, None)  # only now, so that progress() never misses it


@batched
async def _claim(sids: list[str]) -> Sequence[float]:
    """Claim the intervals of many streams in one round trip."""
    keys = [f"refresh:{sid}" for sid in sids]
    seconds = get_settings().refresh_interval
    try:
        return await get_replay().claim_each(keys, seconds=seconds)
    except Exception:
        # An outage, which the publisher reports. Another process may have claimed the
        # intervals, and nothing can be stored now in any case.
        return [seconds] * len(keys)
