"""
Telling clients of rows: events of one object, or of a list.

For each message of a stream: read the rows, once for each query; decide what has
happened from where each client stands; ask the permissions that are asked for events;
send. All the clients of one query get the same text, but for the id of their request.

Queries are read beside each other, and so are the permissions of clients asked, in the
turn of whoever it is done for: nobody waits for what others make slow. Each
subscription hears of what has happened in its order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from turbo.delivery.frame import Frame
from turbo.delivery.unreadable import Unreadable, drop
from turbo.observers.connection.worker import Delivery, Worker
from turbo.observers.events.event_permissions import without_refused
from turbo.observers.events.row_subscription import RowEvent, RowSubscription, gone_text
from turbo.observers.events.shared_query import ListQuery, ReadRow, SharedQuery
from turbo.observers.events.stand_in_client import NotShared
from turbo.observers.wire.notice import ChangeNotice, Received
from turbo.observers.wire.replies import TooMany, encode
from turbo.runtime.queue import KeyedQueues
from turbo.runtime.threads import in_turns

__all__ = ["RowWorker"]

#: Events that may wait for the permissions of one client.
WAITING = 10_000


@dataclass(slots=True)
class Job:
    """
    One message, for the clients of one query.

    Without a notice messages are missing, and the clients need all that there is.
    """

    query: SharedQuery
    subscriptions: list[RowSubscription]
    position: str
    notice: ChangeNotice | None
    row: ReadRow | None = None
    snapshots: dict[Any, str] | None = None
    error: Exception | None = None
    #: What clients were sent.
    frames: dict[Any, Frame] = field(default_factory=dict)


class RowWorker(Worker):
    """The work for the rows of one stream."""

    def __init__(self) -> None:
        super().__init__()
        # A query lives as long as a subscription that has it.
        self.queries: WeakValueDictionary[Any, SharedQuery] = WeakValueDictionary()
        self._to_read: KeyedQueues[SharedQuery, Job] = KeyedQueues(
            self._look, _fail_jobs
        )
        self._to_ask: KeyedQueues[Any, RowEvent] = KeyedQueues(self._ask, _fail_events)

    def stop(self) -> None:
        """End the work."""
        super().stop()
        self._to_read.stop()
        self._to_ask.stop()

    async def handle(self, entries: Sequence[Delivery]) -> None:
        """Find out who is to be told of what."""
        for frame, subscriptions in entries:
            for job in _jobs(frame, subscriptions):
                self._to_read.put(job.query, job)

    async def _look(self, query: SharedQuery, jobs: list[Job]) -> None:
        """Read what has changed, and tell of it."""
        if reads := list(_reads(query, jobs)):
            owner = query.owner
            await in_turns(self if owner is None else owner, reads)
        for job in jobs:
            self._part(job)
            for event in _events(job):
                if event.subscription.asks:
                    self._put(event)
                elif event.subscription.active:
                    event.subscription.tell(event)

    def _part(self, job: Job) -> None:
        """Let each client have its own job if what is read depends on who it is."""
        query = job.query
        is_personal = query.shares_rows and isinstance(job.error, NotShared)
        job.subscriptions, subscriptions = (
            [],
            [subscription for subscription in job.subscriptions if subscription.active],
        )
        for subscription in subscriptions:
            if is_personal and subscription.query is query:
                subscription.take_own_query()
            if subscription.query is query:
                job.subscriptions.append(subscription)
            else:
                own = Job(subscription.query, [subscription], job.position, job.notice)
                self._to_read.put(subscription.query, own)

    def _put(self, event: RowEvent) -> None:
        """Have permissions asked; a client whose events pile up is one that lags."""
        consumer = event.subscription.consumer
        if self._to_ask.waiting(consumer) < WAITING:
            self._to_ask.put(consumer, event)
        else:
            consumer.link.end_as_slow()

    async def _ask(self, consumer: Any, events: list[RowEvent]) -> None:
        """Tell a client of what its permissions let it see."""
        for event in await without_refused(events):
            if event.subscription.active:
                event.subscription.tell(event)


def _fail_jobs(jobs: Sequence[Job]) -> None:
    for job in jobs:
        for subscription in job.subscriptions:
            subscription.fail()


def _fail_events(events: Sequence[RowEvent]) -> None:
    for event in events:
        event.subscription.fail()


def _jobs(frame: Frame, subscriptions: Sequence[RowSubscription]) -> Iterator[Job]:
    received = Received.of(frame)
    try:
        notice = ChangeNotice.unpack(received.content) if received.content else None
    except Unreadable as problem:
        drop("events of observers", problem)
        return
    by_query: dict[SharedQuery, list[RowSubscription]] = {}
    for subscription in subscriptions:
        if subscription.awaits(received):
            by_query.setdefault(subscription.query, []).append(subscription)
    for query, those in by_query.items():
        if notice is None or query.is_affected_by(notice):
            yield Job(query, those, received.position, notice or query.own_notice())


def _reads(query: SharedQuery, jobs: Sequence[Job]) -> Iterator[Callable[[], None]]:
    """Yield what has to be read for the jobs of a query; for threads."""
    by_database: dict[str, list[Job]] = {}
    for job in jobs:
        if job.notice is None:
            yield partial(_attempt, _read_snapshot, [job])
        elif job.notice.action != "delete":
            by_database.setdefault(job.notice.using, []).append(job)
    for those in by_database.values():
        yield partial(_attempt, _read_rows, those)


def _attempt(read: Any, jobs: list[Job]) -> None:
    try:
        read(jobs)
    except Exception as error:
        for job in jobs:
            job.error = error


def _read_rows(jobs: list[Job]) -> None:
    notices = {job.notice.key: job.notice for job in jobs if job.notice}
    using = next(iter(notices.values())).using
    rows = jobs[0].query.read([p.pk for p in notices.values()], using=using)
    for job in jobs:
        assert job.notice is not None
        job.row = rows.get(job.notice.key)


def _read_snapshot(jobs: list[Job]) -> None:
    [job] = jobs
    assert isinstance(job.query, ListQuery)
    query, consumers = (
        job.query,
        [subscription.consumer for subscription in job.subscriptions],
    )
    query.count(consumers[0])
    shared = query.shared_snapshot(consumers)
    job.snapshots = {
        subscription: shared
        or encode(query.snapshot(subscription.consumer, subscription.call.wanted))
        for subscription in job.subscriptions
    }


def _events(job: Job) -> Iterator[RowEvent]:
    if job.error is not None:
        for subscription in job.subscriptions:
            subscription.refuse(job.error, "update")
    elif job.notice is None:
        yield from _snapshot_events(job)
    elif isinstance(job.query, ListQuery):
        yield from _list_events(job, job.query, job.notice)
    else:
        yield from _instance_events(job, job.notice)


def _snapshot_events(job: Job) -> Iterator[RowEvent]:
    for subscription, text in (job.snapshots or {}).items():
        subscription.hidden.clear()
        yield RowEvent(subscription, "snapshot", text, job.position, job.frames)


def _list_events(
    job: Job, query: ListQuery, notice: ChangeNotice
) -> Iterator[RowEvent]:
    action = query.decide(notice.key, visible=job.row is not None)
    if action is None:
        return
    for subscription in job.subscriptions:
        if _holds_rows(subscription):
            yield from _event(job, subscription, action, notice)


def _holds_rows(subscription: RowSubscription) -> bool:
    """Count the rows that are new; a client with too many is told no more."""
    try:
        subscription.hold_rows()
    except TooMany as error:
        subscription.consumer.subscriptions.discard(subscription)
        subscription.refuse(error)
    return subscription.active


def _instance_events(job: Job, notice: ChangeNotice) -> Iterator[RowEvent]:
    visible = job.row is not None
    for subscription in job.subscriptions:
        was_shown, subscription.shown = subscription.shown, visible
        if visible:
            yield from _event(
                job, subscription, "update" if was_shown else "create", notice
            )
        elif was_shown:
            yield from _event(job, subscription, "delete", notice)


def _event(
    job: Job, subscription: RowSubscription, action: str, notice: ChangeNotice
) -> Iterator[RowEvent]:
    place = job.position, job.frames
    if job.row is None:
        yield RowEvent(
            subscription, action, gone_text(notice.key), *place, key=notice.key
        )
    elif text := job.row.text_for(job.query.audience_of(subscription.consumer)):
        yield RowEvent(subscription, action, text, *place, job.row.instance, notice.key)
