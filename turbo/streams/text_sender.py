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
from concurrent import futures
from contextlib import suppress
from itertools import count
from math import inf
from weakref import WeakKeyDictionary

from turbo.delivery.broadcast import get_publisher
from turbo.delivery.questions import Unanswered
from turbo.delivery.unnumbered import Unnumbered
from turbo.exceptions import ConfigurationError, TextError
from turbo.replay import get_replay
from turbo.replay.base import Append
from turbo.replay.texts import Put, Stored, StoredText, TextPlace
from turbo.runtime.backoff import Backoff, OutageLog
from turbo.runtime.failures import is_outage, log_failure
from turbo.runtime.queue import IsSent

__all__ = ["STUCK", "TextSender", "TextWriter", "read_text", "sender"]

logger = logging.getLogger("turbo.broadcast")

#: Seconds between two parts of a text.
INTERVAL = 0.05
#: Seconds after which a writer renews its lease.
RENEWAL = 10.0
#: The most texts that are put at once.
BATCH = 100
#: Seconds in which a text tries to begin: the end of the one before may be on its way.
TRYING = 0.4
#: Seconds that the beginning of a text waits for an answer.
PATIENCE = 1.0
#: Seconds to wait for the loop itself, which ends each question in time.
STUCK = 2.0
#: How often a put is tried that fails for a reason that nobody knows.
TRIES = 3
#: What would fail again, whatever the state of the log is.
CONTENT = (TypeError, ValueError, ConfigurationError)
#: Why nothing can be stored any more.
REFUSED, TAKEN = "it could not be stored", "another writer has it now"


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

    def claim(self, writer: TextWriter) -> futures.Future[Exception | None] | None:
        """
        Store that a text begins; the answer is the error if it must not.

        There is nothing to wait for while the log cannot be reached: the text begins
        when it can be.
        """
        if self._outage.is_down:
            self.put(writer)
            return None
        return asyncio.run_coroutine_threadsafe(self._claim(writer), self._loop)

    def note_silence(self) -> None:
        """Note, in any thread, that the loop has not even ended a question in time."""
        self._outage.down(TimeoutError("The publisher is busy."))

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
        """Store and send what writers have; one that cannot be stored is given up."""
        for writer in writers:
            # First: what comes from now on makes it wait again.
            self._put_at.setdefault(writer, self._loop.time())
        try:
            puts = [writer.next_put() for writer in writers]
            stored = await self._until_answered(puts)
            answers = list(zip(writers, puts, stored, strict=True))
        except Exception as error:
            if len(writers) > 1:  # one of them may be to blame
                for writer in writers:
                    await self._send([writer])
            else:
                self._give_up(writers[0], error)
            return
        for writer, put, answer in answers:
            try:
                self._take(writer, put, answer)
            except Exception as error:
                self._give_up(writer, error)

    def _give_up(self, writer: TextWriter, error: Exception) -> None:
        log_failure(f"The text {writer.place.id!r} could not be stored.", error)
        writer.give_up(REFUSED)
        self._forget(writer)

    async def _until_answered(self, puts: Sequence[Put]) -> list[Stored]:
        """Put until the log can be reached; raise the error if it refuses."""
        tries = count(1)

        def is_fatal(error: Exception) -> bool:
            if is_outage(error):
                return False
            return isinstance(error, CONTENT) or next(tries) >= TRIES

        return await Backoff(free=1).until_done(
            lambda: get_replay().texts.put(puts),
            outage=self._outage,
            is_fatal=is_fatal,
        )

    def _take(self, writer: TextWriter, put: Put, stored: Stored) -> None:
        if not stored.run:
            writer.give_up(TAKEN)
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

    async def _claim(self, writer: TextWriter) -> Exception | None:
        """Return why a text cannot begin; if there is no answer, it begins later."""
        try:
            async with asyncio.timeout(PATIENCE):
                may_begin = await self._begin(writer)
        except Exception as error:
            if not is_outage(error):
                writer.give_up(REFUSED)
                return error
            silent = TimeoutError("The log does not answer.")
            self._outage.down(error if str(error) else silent)
            self.put(writer)
            return None
        self._outage.up()
        if may_begin:
            return None
        writer.give_up(TAKEN)
        return TextError(writer.place.id, "taken")

    async def _begin(self, writer: TextWriter) -> bool:
        """Store that a text begins; return whether it may."""
        end = inf
        while True:
            put = writer.next_put()
            [stored] = await get_replay().texts.put([put])
            if stored.run:
                self._take(writer, put, stored)
                self._wake.set()
                return True
            if (now := self._loop.time()) > end:
                return False
            end = min(end, now + TRYING)  # from the first answer on
            await asyncio.sleep(INTERVAL)


def sender() -> TextSender:
    """Return the sender of this process."""
    return get_publisher().queues.get(TextSender)


def read_text(stream: str, id: str) -> StoredText | None:
    """
    Return what is stored of a text, for a page that is being rendered.

    It is ``None`` if the log cannot be reached, or not in time: the page asks for the
    text itself then.
    """
    place = TextPlace(stream, id)
    try:
        [written] = get_publisher().questions.ask(
            lambda: get_replay().texts.read([place])
        )
    except Unanswered as unanswered:
        if not is_outage(unanswered.reason):
            log_failure("A growing text could not be read.", unanswered.reason)
        return None
    return written
