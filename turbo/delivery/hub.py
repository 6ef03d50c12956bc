"""
The hub, which passes messages from the channel layer to the subscribers.

Each process has one hub per event loop. It asks for each stream once, however many
pages show the stream, and hands each message to all of them without awaiting any. If
the log does not keep who shows what, it joins the group of the stream.
It recovers messages that the layer loses:

* If a number is missing, the hole is read from the replay log at once.
* The last message may be lost, so the tips of the log are compared each
  ``TIP_INTERVAL``.
* The layer drops members after ``group_expiry``, so they are added again before that.
* The layer may lose members at any time, so with each comparison some groups are joined
  again, and also each group whose last message did not arrive.
* If the layer's connection breaks, the hub logs this once, pauses, joins the groups
  again, and compares the tips.

If a group cannot be left, the attempt is given up. Messages that still arrive for it
start the next attempt.

If the log cannot prove that nothing is missing, the subscribers get a gap.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from contextvars import Context
from typing import Any, Protocol

from turbo import metrics
from turbo.conf import get_settings
from turbo.delivery.envelope import unpack
from turbo.delivery.frame import Frame
from turbo.delivery.groups import Groups, get_layer, reconnect
from turbo.delivery.losses import loss_in, mark_loss
from turbo.delivery.names import CONTROL, stream_id
from turbo.delivery.protocol import PING
from turbo.delivery.repair import Repairs
from turbo.delivery.topic import (
    NO_AUDIENCES,
    Arrival,
    Audiences,
    Subscriber,
    Topic,
    deliver,
    read,
)
from turbo.delivery.unreadable import Unreadable, drop, is_about_content
from turbo.runtime import loops, tracing
from turbo.runtime.backoff import Backoff, OutageLog
from turbo.runtime.beginnings import begin
from turbo.runtime.failures import log_failure
from turbo.runtime.loops import PerLoop
from turbo.runtime.tasks import Tasks

__all__ = ["Connection", "Hub", "get_hub", "subscriber_of", "subscribers"]

logger = logging.getLogger("turbo.hub")

#: The connections are divided into this many parts, which are rechecked in turn.
PARTS = 16
#: Seconds that a page may wait until its process receives revocations.
PATIENCE = 5.0
#: The most groups to join again with one comparison of tips; they take turns.
RENEWED = 200
#: Failures to receive in a row after which the next attempts are delayed.
IN_A_ROW = 100
#: Seconds after which a failure does not count as one in a row.
QUIET = 1.0


class Connection(Subscriber, Protocol):
    """A subscriber that also gets pings and revocations."""

    def apply_revocation(self, revocation: str | None) -> None:
        """Apply a revocation of the control stream; ``None`` if some were lost."""


class Hub:
    """The streams of the pages that this loop serves."""

    def __init__(self) -> None:
        self._topics: dict[str, Topic] = {}
        self._connections: dict[Connection, None] = {}
        #: The streams of each subscriber, so that leaving needs no search.
        self._held: dict[Subscriber, tuple[str, ...]] = {}
        self._groups = Groups(self._topics)
        self._leaving: set[str] = set()
        self._unrenewed: list[str] = []  # the stream ids that are joined again next
        self._jobs = Tasks()
        self._tasks = Tasks()
        self._repairs = Repairs(self._tasks, self._groups)
        self._listens = asyncio.Event()
        self._layer_outage = OutageLog(
            logger,
            down="The channel layer cannot be reached: %(error)r",
            up="The channel layer is back.",
        )
        self._part = 0

    def connect(self, connection: Connection) -> None:
        """Add a connection; the first one starts the hub."""
        if not self._connections:
            # The hub works for all connections, and longer than the first request.
            Context().run(self._start)
        self._connections[connection] = None

    async def disconnect(self, connection: Connection) -> None:
        """Remove a connection and its subscriptions; the last one stops the hub."""
        self._connections.pop(connection, None)
        self.unsubscribe(connection, self._held.get(connection, ()))
        if not self._connections:
            _hubs.forget()
            await self._stop()

    def subscribers(self) -> dict[str, int]:
        """Return how many subscribers each stream id has in this process."""
        topics = list(self._topics.items())  # the caller may be in another thread
        return {sid: len(topic.members) for sid, topic in topics}

    def connections(self) -> int:
        """Return the number of connections."""
        return len(self._connections)

    def subscriber_of(self, sid: str) -> Subscriber | None:
        """Return one of the subscribers of a stream, if it has any."""
        topic = self._topics.get(sid)
        # A copy, because the caller may be in another thread.
        return next(iter(list(topic.members)), None) if topic else None

    async def subscribe(
        self,
        subscriber: Subscriber,
        wanted: Sequence[tuple[str, str]],
        audiences: Audiences = NO_AUDIENCES,
    ) -> list[Arrival]:
        """
        Subscribe to ``(stream id, since)`` pairs, with one read of the log.

        ``audiences`` are those of the subscriber, by stream id.

        Live messages directly follow those of the arrivals, so send the arrivals before
        you await anything else. If the layer or the log cannot be reached, its
        exception is raised, and nothing is subscribed.
        """
        topics = [self._claim(sid) for sid, _ in wanted]
        try:
            await self._groups.join([sid for sid, _ in wanted])
            if subscriber is not self:
                await self.wait_until_listening()
            histories = await read(wanted, self._groups.channel, audiences)
            arrivals = [
                topic.admit(subscriber, history, missed, audiences.get(topic.sid, ""))
                for topic, (history, missed) in zip(topics, histories, strict=True)
            ]
            held = {*self._held.get(subscriber, ()), *(sid for sid, _ in wanted)}
            self._held[subscriber] = tuple(held)
        finally:
            for topic in topics:
                topic.unclaim()
                self._release(topic)
        for topic, (history, _) in zip(topics, histories, strict=True):
            if history.epoch != topic.epoch:
                self._repairs.start([topic])
        return arrivals

    async def wait_until_listening(self) -> None:
        """
        Wait until the hub receives revocations, so that none is missed.

        Raises :exc:`TimeoutError` if this takes too long.
        """
        if not self._listens.is_set():
            async with asyncio.timeout(PATIENCE):
                await self._listens.wait()

    def settle(self, arrivals: Iterable[Arrival]) -> None:
        """Deliver live messages; call this after the arrivals have been sent."""
        for arrival in arrivals:
            topic = self._topics.get(arrival.sid)
            if topic is not None and topic.members:
                self._repairs.resume(topic)

    def change_audience(self, subscriber: Subscriber, sid: str, audience: str) -> bool:
        """
        Send to a subscriber what this audience gets from now on.

        Return whether it is still subscribed.
        """
        topic = self._topics.get(sid)
        if topic is None or subscriber not in topic.members:
            return False
        topic.members[subscriber] = audience
        return True

    def unsubscribe(self, subscriber: Subscriber, sids: Iterable[str]) -> None:
        """End a subscriber's subscriptions."""
        held = set(self._held.pop(subscriber, ()))
        ended = held.intersection(sids)
        if held > ended:
            self._held[subscriber] = tuple(held - ended)
        for sid in ended:
            topic = self._topics[sid]
            topic.drop(subscriber)
            self._release(topic)

    def _claim(self, sid: str) -> Topic:
        topic = self._topics.get(sid)
        if topic is None:
            topic = self._topics[sid] = Topic(sid)
        topic.claims += 1
        return topic

    def _release(self, topic: Topic) -> None:
        if topic.idle and self._topics.pop(topic.sid, None) is not None:
            self._leave(topic.sid)

    def _leave(self, sid: str) -> None:
        if sid not in self._leaving:
            self._leaving.add(sid)
            self._tasks.run(self._leave_group(sid))

    async def _leave_group(self, sid: str) -> None:
        try:
            await self._groups.leave(sid)
        finally:
            self._leaving.discard(sid)

    def _start(self) -> None:
        loops.register(asyncio.get_running_loop())
        begin()
        settings = get_settings()
        expiry = getattr(get_layer(), "group_expiry", 86_400)
        self._jobs.run(self._listen())
        self._jobs.run(self._listen_to_control())
        self._jobs.repeat(settings.tip_interval, self._check_groups)
        self._jobs.repeat(min(expiry / 3, 3_600), self._join_again)
        self._jobs.repeat(settings.heartbeat, self._beat)
        self._jobs.repeat(settings.recheck_interval / PARTS, self._recheck_part)

    async def _stop(self) -> None:
        await self._jobs.stop()
        self.unsubscribe(self, self._held.get(self, ()))
        self._tasks.run(self._groups.close())
        await self._tasks.stop(grace=2.0)

    async def _listen(self) -> None:
        backoff = Backoff(free=IN_A_ROW)
        loop = asyncio.get_running_loop()
        while True:
            begun = loop.time()
            try:
                message = await self._groups.receive()
            except Exception as error:
                if loop.time() - begun > QUIET:
                    backoff.reset()  # receive() has waited, as it should
                if is_about_content(error):
                    drop("on the channel layer", repr(error))
                else:
                    await self._survive(error)
                if pause := backoff.fail():
                    log_failure("The channel layer cannot be read.", error)
                await asyncio.sleep(pause)
            else:
                backoff.reset()
                self._take(message)

    def _take(self, message: Any) -> None:
        try:
            found, are_for_all = unpack(message)
        except Unreadable as problem:
            drop("on the channel layer", problem)
            return
        tracer = tracing.tracer
        fanout = None if tracer is None else tracer.received(message)
        for envelope in found:
            if (topic := self._topics.get(envelope.sid)) is not None:
                self._repairs.take(topic, [envelope])
                if fanout is not None:
                    fanout.sent(
                        envelope.sid,
                        envelope.number,
                        len(envelope.data),
                        subscribers=len(topic.members),
                        is_held=not topic.settled,
                    )
            elif not are_for_all:  # it has just been left, or could not be left
                self._leave(envelope.sid)

    async def _survive(self, error: Exception) -> None:
        """Return when the layer can be reached again and lost messages were found."""
        # redis-py's own socket timeout ends a quiet receive every few seconds. This is
        # not an outage, but a message may have been lost.
        joined = type(error).__name__ == "TimeoutError"

        async def attempt() -> None:
            nonlocal joined
            was_joined, joined = joined, False
            if not was_joined:
                await reconnect(get_layer())
                await self._join_again()
            await self._compare_tips()

        await Backoff().until_done(attempt, outage=self._layer_outage)

    async def _join_again(self) -> None:
        await self._groups.join_again(list(self._topics))

    async def _compare_tips(self) -> list[Topic]:
        return await self._repairs.compare_tips(list(self._topics.values()))

    async def _check_groups(self) -> None:
        """Find lost last messages, and groups that the layer has lost."""
        lost = [topic.sid for topic in await self._compare_tips()]
        self._unrenewed = self._unrenewed or list(self._topics)
        sids, self._unrenewed = self._unrenewed[:RENEWED], self._unrenewed[RENEWED:]
        async with asyncio.timeout(get_settings().tip_interval):
            await self._groups.renew(lost)
            await self._groups.join_again(sids)

    async def _listen_to_control(self) -> None:
        wanted = [(stream_id(CONTROL), "")]
        backoff = Backoff()

        async def attempt() -> None:
            self.settle(await self.subscribe(self, wanted))

        await backoff.until_done(attempt)
        self._listens.set()
        if backoff.failures:
            await self._recheck()  # revocations may have been missed

    def deliver(self, frame: Frame) -> None:
        """Pass a revocation of the control stream on to the connections."""
        data = json.loads(frame.text).get("data")
        if (word := loss_in(data)) is None:
            self._pass_on(data)
        else:
            sids = [sid for sid in self._topics if sid != stream_id(CONTROL)]
            self._tasks.run(mark_loss(word, sids))

    async def _beat(self) -> None:
        deliver(Frame(PING), list(self._connections))

    async def _recheck_part(self) -> None:
        """Check the permissions of one part again; all at once would take too long."""
        self._part = (self._part + 1) % PARTS
        for connection in list(self._connections):
            if hash(connection) % PARTS == self._part:
                connection.apply_revocation(RECHECK)

    async def _recheck(self) -> None:
        self._pass_on(RECHECK)

    def _pass_on(self, revocation: str | None) -> None:
        for connection in list(self._connections):
            try:
                connection.apply_revocation(revocation)
            except Unreadable as problem:
                drop("revocations", problem)
                return  # the others do not understand it either
            except Exception:
                logger.exception("A connection could not apply a revocation.")
                metrics.count("failed")


#: The revocation that makes connections check every permission again.
RECHECK = "{}"

_hubs = PerLoop(Hub)


def get_hub() -> Hub:
    """Return the hub of the running loop; call connect() before any ``await``."""
    return _hubs.get()


def subscribers() -> Counter[str]:
    """Return how many subscribers each stream id has in this process."""
    return sum((Counter(hub.subscribers()) for hub in _hubs.values()), Counter())


def subscriber_of(sid: str) -> Subscriber | None:
    """Return one of the subscribers of a stream in this process, if it has any."""
    found = (hub.subscriber_of(sid) for hub in _hubs.values())
    return next((one for one in found if one is not None), None)


metrics.gauge("connections", lambda: sum(map(Hub.connections, _hubs.values())))
metrics.gauge("streams", lambda: len(subscribers()))
metrics.gauge("subscribers", lambda: subscribers().total())
