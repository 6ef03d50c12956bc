"""
The reports of all processes, while somebody looks at the inspector.

An open page notes in the replay log, for some seconds, that somebody looks. Every
process that sends or serves reads this note from time to time, and while it is there
the process appends a report to a stream of the log. The page reads the last ones.
Nothing of this passes the channel layer, and nothing is reported if nobody looks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import takewhile

from turbo.delivery.broadcast import get_publisher
from turbo.delivery.names import stream_id
from turbo.inspector.access import is_for_staff, shows_contents
from turbo.inspector.history import history
from turbo.inspector.process_report import ProcessReport, log_time, own_report
from turbo.replay import get_replay
from turbo.replay.base import Append, Entry
from turbo.runtime.queue import IsSent

__all__ = ["NOTE", "Reporter", "get_reporter", "start"]

#: Under this key the log notes that somebody looks, and the stream of the reports.
NOTE = "inspector"
SID = stream_id("turbo:inspector")
#: Seconds for which a look is noted; a page that is open looks again in time.
NOTED = 10
#: Seconds between two readings of the note, and between two reports.
INTERVAL, REPORT_INTERVAL = 5.0, 2.0
#: Seconds after which a report is too old to be shown.
AGE = 20
#: Seconds that a page waits for the log.
PATIENCE = 2.0


class Reporter:
    """Reads the note and writes the reports of this process, beside its publisher."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, drained: Callable[[], None]
    ) -> None:
        self._loop = loop
        # Both belong to the loop.
        self._looked = asyncio.Event()
        self._is_watched = False

    def waiting(self) -> int:
        """Return zero: nobody waits for a report."""
        return 0

    def progress(self) -> IsSent:
        """Return a function that says that nothing waits."""
        return lambda: True

    async def work(self) -> None:
        """Read the note until cancelled."""
        try:
            while True:
                self._is_watched = await self._report_if_watched()
                with suppress(TimeoutError):
                    async with asyncio.timeout(
                        REPORT_INTERVAL if self._is_watched else INTERVAL
                    ):
                        await self._looked.wait()
                self._looked.clear()
        finally:
            _stop_recording()

    async def _report_if_watched(self) -> bool:
        log = get_replay()
        try:
            is_watched = is_for_staff() and any(await log.forbidden([NOTE]))
            if is_watched:
                if not history.is_open:
                    history.open(contents=False)
                await log.append([Append(SID, own_report(history).write())])
        except Exception:  # an outage, which the publisher reports
            return False
        if not is_watched:
            _stop_recording()
        return is_watched

    def look(self) -> list[ProcessReport]:
        """
        Return the last report of each process, and let all processes go on reporting.

        Raises the exceptions of the log, or :exc:`TimeoutError`.
        """
        future = asyncio.run_coroutine_threadsafe(self._look(), self._loop)
        try:
            return future.result(PATIENCE)
        finally:
            future.cancel()

    async def _look(self) -> list[ProcessReport]:
        await get_replay().forbid([NOTE], seconds=NOTED)
        if not self._is_watched:
            self._looked.set()
        oldest = log_time() - AGE * 1_000_000
        last: dict[str, ProcessReport] = {}
        for entry in await _last_entries():
            report = ProcessReport.read(entry.data)
            if report is not None and report.at > oldest:
                last[report.key] = report
        return list(last.values())


async def _last_entries() -> Sequence[Entry]:
    """Return what the log still has of the reports, which may be less than it keeps."""
    log = get_replay()
    (tip,) = await log.tips([SID])
    if tip is None:
        return ()
    epoch, number = tip
    most = min(number, log.length)
    counts = [*takewhile(lambda n: n < most, (2**n for n in range(20))), most]
    places = [(SID, f"{epoch}:{number - count}") for count in counts]
    found = [history.entries for history in await log.read(places) if history.complete]
    return max(found, key=len, default=())


def _stop_recording() -> None:
    if history.is_open and not shows_contents():
        history.close()


def get_reporter() -> Reporter:
    """Return the reporter of this process."""
    return get_publisher().queues.get(Reporter)


def start() -> None:
    """Let this process report from now on, whenever somebody looks."""
    get_reporter()
