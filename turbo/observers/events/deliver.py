"""
Send events of one object, or of a list, to clients.

For each message of a stream, the worker reads the rows, once for each query. It decides
what has happened as each client sees it, checks the permissions that are checked per
event, and sends. All clients of one query get the same text, except for the id of their
request.

Queries run in parallel, and so do the permission checks of different clients, each in
the turn of its user. So no client waits for slow code that runs for another. Each
subscription gets its events in order.
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

    ``notice`` is ``None`` if messages were lost; the clients then get all rows anew.
    """

    query: SharedQuery
    subscriptions: list[RowSubscription]
    position: str
    notice: ChangeNotice | None
    row: ReadRow | None = None
    snapshots: dict[Any, str] | None = None
    error: Exception | None = None
    #: The frames that have been sent to clients.
    frames: dict[Any, Frame] = field(default_factory=dict)


class RowWorker(Worker):
    """Handle the messages about the rows of one stream."""

    def __init__(self) -> None:
        super().__init__()
        # A query lives as long as its subscriptions refer to it.
        self.queries: WeakValueDictionary[Any, SharedQuery] = WeakValueDictionary()
        self._to_read: KeyedQueues[SharedQuery, Job] = KeyedQueues(
            self._look, _fail_jobs
        )
        self._to_ask: KeyedQueues[Any, RowEvent] = KeyedQueues(self._ask, _fail_events)

    def stop(self) -> None:
        """Stop working."""
        super().stop()
        self._to_read.stop()
        self._to_ask.stop()

    async def handle(self, entries: Sequence[Delivery]) -> None:
        """Queue a job for each query that a message concerns."""
        for frame, subscriptions in entries:
            for job in _jobs(frame, subscriptions):
                self._to_read.put(job.query, job)

    async def _look(self, query: SharedQuery, jobs: list[Job]) -> None:
        """Read the changed rows, and send events or queue them for permissions."""
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
        """Give each client a job of its own if the rows depend on the client."""
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
        """Queue an event for permission checks; end the connection if too many wait."""
        consumer = event.subscription.consumer
        if self._to_ask.waiting(consumer) < WAITING:
            self._to_ask.put(consumer, event)
        else:
            consumer.link.end_as_slow()

    async def _ask(self, consumer: Any, events: list[RowEvent]) -> None:
        """Send those events that the client's permissions allow."""
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
    """Yield functions that read the rows of a query's jobs, to be run in a thread."""
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
    """Count the new rows, and end the subscription of a client that has too many."""
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
