"""
The publisher of a process, which runs on one event loop.

:class:`~turbo.delivery.publisher_thread.PublisherThread` gives it a loop in a thread of
its own. Nothing here knows the thread, so a test can run it on any loop.

It takes the waiting messages from the queue, in order, and

1. appends them to the replay log, which numbers them (one round trip per batch),
2. sends to each process what is for it, in one message of the channel layer. If the log
   does not know which process shows which stream, each stream has a group instead.

Unnumbered messages have a queue of their own and only the second step.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer, get_channel_layer

from turbo import metrics
from turbo.conf import get_settings
from turbo.delivery.envelope import Envelope, envelopes, pack
from turbo.delivery.groups import reconnect
from turbo.delivery.names import EVERY, group_name
from turbo.delivery.throttle import Throttle
from turbo.delivery.unnumbered import ShownBy, Unnumbered
from turbo.replay import get_replay
from turbo.replay.base import Append, Appended, RoutingLog
from turbo.runtime import loops, tracing
from turbo.runtime.backoff import Backoff, OutageLog
from turbo.runtime.failures import log_failure
from turbo.runtime.queue import IsSent, Progress, Queue, Queues
from turbo.runtime.tasks import Tasks

__all__ = ["Publisher"]

logger = logging.getLogger("turbo.broadcast")

T = TypeVar("T")

#: The most messages in one batch.
BATCH = 256
#: Characters of data in one message of the layer for several streams.
PORTION = 262_144
#: Seconds between two readings of the log's clock.
CLOCK_INTERVAL = 5.0


class Publisher:
    """
    The queue of one process, and the work that empties it on ``loop``.

    ``drained()`` is called on the loop whenever something that waited has been sent.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        drained: Callable[[], None] = lambda: None,
    ) -> None:
        #: Revocations that have not been stored yet; any thread may add to it.
        self._unnoted: set[asyncio.Event] = set()
        self._drained = drained
        self._outage = OutageLog(
            logger,
            down="Broadcasts have to wait: %(type)s: %(error)s",
            up="Broadcasts are sent again.",
        )
        self._warned = False
        self._loop = loop
        self._stopping = asyncio.Event()
        self._tasks = Tasks()  # of the loop
        self._queue: Queue[Append] = Queue(
            self._loop,
            self._publish,
            batch=BATCH,
            on_full=self._drop_oldest,
            drained=drained,
        )
        self._throttle = Throttle(self._queue.put)
        self._unnumbered: Queue[Unnumbered] = Queue(
            self._loop,
            self._pass_on,
            batch=BATCH,
            on_full=self._drop_oldest_unnumbered,
            drained=drained,
        )
        self._shown = ShownBy()
        #: Messages for other destinations than the channel layer.
        self.queues = Queues(self._loop, drained)

    def put(self, message: Append, *, summary: str | None = None) -> None:
        """Queue a message; this never blocks or raises if there is no network."""
        if summary is None:
            self._queue.put(message)
        else:
            self._throttle.put(self._loop, message, summary)

    def pass_on(self, message: Unnumbered) -> None:
        """Queue a message that is not stored; it is lost if it cannot be sent now."""
        self._unnumbered.put(message)

    def moment(self) -> str:
        """
        Return the present moment of the log, without network, for a new page.

        It is ``"?"`` if it is not known, because the log could not be reached.
        """
        return get_replay().moment() or "?"

    def forbid(self, keys: Sequence[str], *, seconds: int) -> None:
        """Store a revocation in the log; later broadcasts wait until this is done."""
        is_noted = asyncio.Event()
        self._unnoted.add(is_noted)
        self._loop.call_soon_threadsafe(
            lambda: self._tasks.run(self._forbid(keys, seconds, is_noted))
        )

    def waiting(self) -> int:
        """Return how many messages have not been sent yet."""
        own = self._queue.waiting() + len(self._unnoted)
        own += self._unnumbered.waiting()
        return own + self._throttle.waiting() + self.queues.waiting()

    def progress(self) -> Progress:
        """Return what tells whether all that waits now has been sent."""
        return Progress(self._stages())

    def _stages(self) -> Iterator[IsSent]:
        unnoted = set(self._unnoted)
        yield lambda: unnoted.isdisjoint(list(self._unnoted))
        # These broadcast in turn, and the throttle puts into the queue.
        yield self.queues.progress()
        yield self._throttle.progress()
        yield self._queue.progress()
        yield self._unnumbered.progress()

    def release(self) -> None:
        """Send refreshes and gaps that are held back; any thread may call this."""
        self._loop.call_soon_threadsafe(self._throttle.release)

    def _drop_oldest(self) -> None:
        if (dropped := self._queue.drop_oldest(_gap)) is not None:
            metrics.count("dropped", sid=dropped.stream)

    def _drop_oldest_unnumbered(self) -> None:
        if self._unnumbered.drop_oldest() is not None:
            metrics.count("dropped")

    def stop(self) -> None:
        """Let :meth:`run` end; any thread may call this. Waiting messages are lost."""
        self._loop.call_soon_threadsafe(self._stopping.set)

    async def run(self) -> None:
        """Send what is put until :meth:`stop`, then close the connections."""
        self._tasks.run(self._queue.run())
        self._tasks.run(self._unnumbered.run())
        self._tasks.run(self._keep_clock())
        await self._stopping.wait()
        await self._tasks.stop()
        await self.queues.stop()
        await self._throttle.stop()
        await get_replay().aclose()

    async def _keep_clock(self) -> None:
        while True:
            await self.sync_clock()
            await asyncio.sleep(CLOCK_INTERVAL)

    async def sync_clock(self) -> None:
        """Read the log's clock, and note whether the log can be reached."""
        try:
            await get_replay().sync_clock()
        except Exception as error:
            self._outage.down(error)
        else:
            self._outage.up()

    async def _publish(self, batch: list[Append]) -> None:
        # A page that gets a revocation must not subscribe again with its old name.
        for is_noted in list(self._unnoted):
            await is_noted.wait()
        # A gap has no content that could be wrong, so its errors are an outage.
        has_content = any(item.data is not None for item in batch)
        tracer = tracing.tracer
        begun = 0 if tracer is None else tracer.now()
        try:
            appended = await self._persist(
                lambda: get_replay().append(batch),
                is_fatal=_is_unstorable if has_content else None,
            )
        except Exception:
            # This is not an outage: these messages can never be stored.
            logger.exception("%d broadcasts could not be stored.", len(batch))
            metrics.count("dropped", len(batch))
            for item in batch:
                self._queue.put_first(_gap(item))
            return
        metrics.count("published", len(batch))
        traced = None if tracer is None else _trace(tracer, batch, appended, begun)
        for send, address, message in _addressed(batch, appended):
            if tracer is not None:
                tracer.carry(message, traced)
            await self._send(send, address, message)
        for item, place in zip(batch, appended, strict=True):
            if place.overtaken:
                # A newer state of another writer may have been sent before this one.
                self._throttle.ask(_gap(item))

    async def _pass_on(self, batch: list[Unnumbered]) -> None:
        try:
            shown = await self._shown.of([item.stream for item in batch])
        except Exception as error:
            self._outage.down(error)
            return
        appends = [Append(item.stream, item.data) for item in batch]
        places = [Appended("", 0, shown_by=channels) for channels in shown]
        for send, address, message in _addressed(appends, places):
            await self._send(send, address, message)

    async def _forbid(
        self, keys: Sequence[str], seconds: int, is_noted: asyncio.Event
    ) -> None:
        try:
            await self._persist(
                lambda: get_replay().forbid(keys, seconds=seconds),
                is_fatal=_is_unstorable,
            )
        except Exception as error:
            log_failure("A revocation could not be stored.", error)
        self._unnoted.discard(is_noted)
        is_noted.set()
        self._drained()

    async def _persist(
        self,
        attempt: Callable[[], Awaitable[T]],
        *,
        is_fatal: Callable[[Exception], bool] | None,
    ) -> T:
        """Call ``attempt`` until the log can be reached; return its result."""
        return await Backoff(free=1).until_done(
            attempt, outage=self._outage, is_fatal=is_fatal
        )

    async def _send(self, send: str, address: str, message: dict[str, Any]) -> None:
        try:
            layer = get_channel_layer(get_settings().channel_layer)
            try:
                await self._attempt(layer, send, address, message)
            except ChannelFull:
                pass  # as for groups: the hub will find the hole
            except Exception:
                await reconnect(layer)
                await self._attempt(layer, send, address, message)
        except Exception as error:
            # The message is in the log; the hubs find the hole when they compare tips.
            self._outage.down(error)

    async def _attempt(
        self, layer: Any, name: str, address: str, message: dict[str, Any]
    ) -> None:
        if layer is None:
            return
        send = partial(getattr(layer, name), address, message)
        if not isinstance(layer, InMemoryChannelLayer):
            await send()
        elif not await loops.run(send):
            self._warn_alone()

    def _warn_alone(self) -> None:
        if not self._warned and not loops.expected():
            self._warned = True
            logger.warning(
                "Broadcasts of this process reach no pages: InMemoryChannelLayer works "
                "within one process, and no server runs in this one. Use a channel "
                "layer of channels_redis, or turbo.database.layer.DatabaseLayer."
            )


def _is_unstorable(error: Exception) -> bool:
    """Return whether it comes from what is to be stored, and would come again."""
    return isinstance(error, TypeError | ValueError)


def _trace(
    tracer: tracing.Tracer,
    batch: Sequence[Append],
    appended: Sequence[Appended],
    begun: int,
) -> object:
    """Let a tracer know what the log has stored, and where."""
    places = [
        (item.stream, place.epoch, place.number)
        for item, place in zip(batch, appended, strict=True)
    ]
    return tracer.appended([item.trace for item in batch], places, begun)


def _addressed(
    batch: Sequence[Append], appended: Sequence[Appended]
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """
    Yield the messages of the layer, each with how and where it is sent.

    If the log knows the processes that show a stream, each of them gets one message
    with all that is for it. Where it does not know them, all processes get it.
    """
    knows = isinstance(get_replay(), RoutingLog)
    shares: dict[str, list[tuple[str, str, int, str | None]]] = {}
    for item, place in zip(batch, appended, strict=True):
        data = None if place.is_gap else item.data
        shown_by = place.shown_by if knows else None
        for channel in ("",) if shown_by is None else shown_by:
            share = shares.setdefault(channel, [])
            share.append((item.stream, place.epoch, place.number, data))
    for channel, share in shares.items():
        found = envelopes(share)
        if not knows:
            for envelope in found:
                yield "group_send", group_name(envelope.sid), pack([envelope])
            continue
        for some in _portions(found):
            if channel:
                yield "send", channel, pack(some)
            else:
                yield "group_send", group_name(EVERY), pack(some, is_for_all=True)


def _portions(found: Iterable[Envelope]) -> Iterator[list[Envelope]]:
    """Part envelopes before they are too many characters for one message."""
    portion: list[Envelope] = []
    size = 0
    for envelope in found:
        own = sum(len(data or "") for data in envelope.data)
        if portion and size + own > PORTION:
            yield portion
            portion, size = [], 0
        portion.append(envelope)
        size += own
    yield portion


def _gap(message: Append) -> Append:
    return Append(message.stream, None)
