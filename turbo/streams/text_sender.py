"""
The sender of growing texts, which runs on the publisher's loop.

Writers only leave word that they have something. At most every ``INTERVAL`` seconds, it
puts what they have into the replay log, and sends it to the pages that show the stream:
the parts without a number, and the end of a text with one, so that it is not lost. What
has not been stored is not sent. A writer that has nothing to say renews its lease.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from weakref import WeakKeyDictionary

from turbo.delivery.broadcast import get_publisher
from turbo.delivery.unnumbered import Unnumbered
from turbo.exceptions import ConfigurationError
from turbo.replay import get_replay
from turbo.replay.base import Append
from turbo.replay.texts import Put, Stored, StoredText, TextPlace
from turbo.runtime.backoff import Backoff, OutageLog
from turbo.runtime.queue import IsSent

__all__ = ["TextSender", "TextWriter", "read_text", "sender"]

logger = logging.getLogger("turbo.broadcast")

#: Seconds between two parts of a text.
INTERVAL = 0.05
#: Seconds after which a writer renews its lease.
RENEWAL = 10.0
#: The most texts that are put at once.
BATCH = 100
#: Attempts to begin a text: the end of the one before may be on its way.
ATTEMPTS = 8
#: Seconds that a page, or the beginning of a text, waits for what is stored.
PATIENCE = 1.0


class TextWriter(ABC):
    """What the sender needs of a writer; the sender calls it on its own loop."""

    place: TextPlace

    @abstractmethod
    def next_put(self) -> Put:
        """Return what is to be stored next; it may be empty, to renew the lease."""

    @abstractmethod
    def take(self, put: Put, stored: Stored) -> str:
        """Note what was stored; return the element for pages, if there is one."""

    @abstractmethod
    def written(self) -> int:
        """Return how much there is to be stored so far."""

    @abstractmethod
    def stored(self) -> int:
        """Return how much of it has been stored."""

    def is_behind(self) -> bool:
        """Return whether there is something that has not been stored yet."""
        return self.stored() < self.written()

    @abstractmethod
    def give_up(self, reason: str) -> None:
        """Note that nothing can be stored any more."""


class TextSender:
    """The texts that this process writes."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, drained: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._drained = drained
        self._wake = asyncio.Event()
        # Any thread adds to it; the operations of a dict are atomic.
        self._behind: dict[TextWriter, None] = {}
        #: When each text that is being written was last put; owned by the loop.
        # One that its program has forgotten is not renewed.
        self._put_at: WeakKeyDictionary[TextWriter, float] = WeakKeyDictionary()
        self._asked_at = 0.0  # in an outage
        self._outage = OutageLog(
            logger,
            down="Growing texts have to wait: %(type)s: %(error)s",
            up="Growing texts are sent again.",
        )

    def put(self, writer: TextWriter) -> None:
        """Note, in any thread, that a writer has something to send."""
        if writer not in self._behind:
            self._behind[writer] = None
            self._loop.call_soon_threadsafe(self._wake.set)

    def claim(self, writer: TextWriter) -> Future[bool]:
        """Store that a text begins; the answer is whether it may."""
        return asyncio.run_coroutine_threadsafe(self._claim(writer), self._loop)

    def read(self, place: TextPlace) -> Future[StoredText | None]:
        """Return what is stored of a text."""
        return asyncio.run_coroutine_threadsafe(self._read(place), self._loop)

    def patience(self) -> float | None:
        """
        Return the seconds to wait for an answer; ``None`` if it is not worth asking.

        While the log cannot be reached, somebody asks now and then and does not wait.
        """
        if not self._outage.is_down:
            return PATIENCE
        now = self._loop.time()
        if now < self._asked_at + PATIENCE:
            return None
        self._asked_at = now
        return 0.0

    def waiting(self) -> int:
        """Return how many texts have something that has not been sent yet."""
        return len(self._behind)

    def progress(self) -> IsSent:
        """Return a function that says whether what waits now has been sent."""
        goals = [(writer, writer.written()) for writer in list(self._behind)]

        def is_sent() -> bool:
            left = [w for w, goal in goals if w.stored() < goal]
            return self._behind.keys().isdisjoint(left)

        return is_sent

    async def work(self) -> None:
        """Send what writers have until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._renewal()):
                    await self._wake.wait()
            self._wake.clear()
            await self._send_due()
            self._drained()
            await asyncio.sleep(INTERVAL)

    async def _send_due(self) -> None:
        now = self._loop.time()
        put_at = list(self._put_at.items())
        renewing = [writer for writer, at in put_at if at + RENEWAL <= now]
        due = list(dict.fromkeys([*list(self._behind), *renewing]))
        for start in range(0, len(due), BATCH):
            await self._send(due[start : start + BATCH])

    def _renewal(self) -> float | None:
        """Return when the next lease has to be renewed, if there is any."""
        put_at = list(self._put_at.values())
        return min(put_at) + RENEWAL if put_at else None

    async def _send(self, writers: Sequence[TextWriter]) -> None:
        for writer in writers:
            # First: what comes from now on makes it wait again.
            self._put_at.setdefault(writer, self._loop.time())
        puts = [writer.next_put() for writer in writers]
        try:
            answers = await Backoff(free=1).until_done(
                lambda: get_replay().texts.put(puts),
                outage=self._outage,
                fatal=(TypeError, ValueError, ConfigurationError),
            )
        except Exception:
            logger.exception("%d growing texts could not be stored.", len(puts))
            for writer in writers:
                writer.give_up("it could not be stored")
                self._forget(writer)
            return
        for writer, put, stored in zip(writers, puts, answers, strict=True):
            self._take(writer, put, stored)

    def _take(self, writer: TextWriter, put: Put, stored: Stored) -> None:
        if not stored.run:
            writer.give_up("another writer has it now")
            logger.warning("Another writer has the text %r now.", put.place.id)
            self._forget(writer)
            return
        self._put_at[writer] = self._loop.time()
        element = writer.take(put, stored)
        is_stored = stored.at == put.at
        if element and put.state == "writing":
            get_publisher().pass_on(Unnumbered(put.place.stream, element))
        elif element:
            get_publisher().put(Append(put.place.stream, element))
        if is_stored and put.state != "writing":
            self._forget(writer)
            return
        self._behind.pop(writer, None)
        if writer.is_behind():  # also with what came meanwhile
            self.put(writer)

    def _forget(self, writer: TextWriter) -> None:
        self._put_at.pop(writer, None)
        self._behind.pop(writer, None)

    async def _claim(self, writer: TextWriter) -> bool:
        for attempt in range(ATTEMPTS):
            await asyncio.sleep(INTERVAL if attempt else 0)
            put = writer.next_put()
            try:
                [stored] = await get_replay().texts.put([put])
            except Exception as error:
                self._outage.down(error)
                raise
            if stored.run:
                self._take(writer, put, stored)
                self._wake.set()
                return True
        return False

    async def _read(self, place: TextPlace) -> StoredText | None:
        try:
            [written] = await get_replay().texts.read([place])
        except Exception as error:
            self._outage.down(error)
            raise
        self._outage.up()
        return written


def sender() -> TextSender:
    """Return the sender of this process."""
    return get_publisher().queues.get(TextSender)


def read_text(stream: str, id: str) -> StoredText | None:
    """
    Return what is stored of a text, for a page that is being rendered.

    It is ``None`` if the log cannot be reached, or not in time: the page asks for the
    text itself then.
    """
    found = sender()
    if (patience := found.patience()) is None:
        return None
    try:
        return found.read(TextPlace(stream, id)).result(patience)
    except Exception:  # an outage, which is noted
        return None
