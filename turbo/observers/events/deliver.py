"""
Telling clients of rows: events of one object, or of a list.

For each message of a stream: read the rows, once for each view; judge what has happened
from where each client stands; ask the permissions that are asked for events; send. All
the clients of one view get the same text, but for the id of their request.

Views are read beside each other, and so are the permissions of clients asked, in the
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
from turbo.observers.connection.worker import Desk, Entry, Piles
from turbo.observers.events.event_permissions import without_refused
from turbo.observers.events.impersonal import NotShared
from turbo.observers.events.list_views import ListView
from turbo.observers.events.row_subscription import Seat, Telling, gone_text
from turbo.observers.events.shared_query import Row, View
from turbo.observers.wire.notice import Arrived, Pointer
from turbo.observers.wire.replies import TooMany, encode
from turbo.runtime.threads import in_turns

__all__ = ["RowDesk"]

#: Events that may wait for the permissions of one client.
WAITING = 10_000


@dataclass(slots=True)
class Job:
    """
    One message, for the clients of one view.

    Without a pointer messages are missing, and the clients need all that there is.
    """

    view: View
    seats: list[Seat]
    position: str
    pointer: Pointer | None
    row: Row | None = None
    snapshots: dict[Any, str] | None = None
    error: Exception | None = None
    #: What clients were sent.
    frames: dict[Any, Frame] = field(default_factory=dict)


class RowDesk(Desk):
    """The work for the rows of one stream."""

    def __init__(self) -> None:
        super().__init__()
        # A view lives as long as a subscription that has it.
        self.views: WeakValueDictionary[Any, View] = WeakValueDictionary()
        self._to_read: Piles[View, Job] = Piles(self._look, _fail_jobs)
        self._to_ask: Piles[Any, Telling] = Piles(self._ask, _fail_tellings)

    def stop(self) -> None:
        """End the work."""
        super().stop()
        self._to_read.stop()
        self._to_ask.stop()

    async def handle(self, entries: Sequence[Entry]) -> None:
        """Find out who is to be told of what."""
        for frame, seats in entries:
            for job in _jobs(frame, seats):
                self._to_read.put(job.view, job)

    async def _look(self, view: View, jobs: list[Job]) -> None:
        """Read what has changed, and tell of it."""
        if reads := list(_reads(view, jobs)):
            owner = view.owner
            await in_turns(self if owner is None else owner, reads)
        for job in jobs:
            self._part(job)
            for telling in _tellings(job):
                if telling.seat.asks:
                    self._put(telling)
                elif telling.seat.active:
                    telling.seat.tell(telling)

    def _part(self, job: Job) -> None:
        """Let each client have its own job if what is read depends on who it is."""
        view = job.view
        is_personal = view.shares_rows and isinstance(job.error, NotShared)
        job.seats, seats = [], [seat for seat in job.seats if seat.active]
        for seat in seats:
            if is_personal and seat.view is view:
                seat.take_own_view()
            if seat.view is view:
                job.seats.append(seat)
            else:
                own = Job(seat.view, [seat], job.position, job.pointer)
                self._to_read.put(seat.view, own)

    def _put(self, telling: Telling) -> None:
        """Have permissions asked; a client whose events pile up is one that lags."""
        consumer = telling.seat.consumer
        if self._to_ask.waiting(consumer) < WAITING:
            self._to_ask.put(consumer, telling)
        else:
            consumer.link.end_as_slow()

    async def _ask(self, consumer: Any, tellings: list[Telling]) -> None:
        """Tell a client of what its permissions let it see."""
        for telling in await without_refused(tellings):
            if telling.seat.active:
                telling.seat.tell(telling)


def _fail_jobs(jobs: Sequence[Job]) -> None:
    for job in jobs:
        for seat in job.seats:
            seat.fail()


def _fail_tellings(tellings: Sequence[Telling]) -> None:
    for telling in tellings:
        telling.seat.fail()


def _jobs(frame: Frame, seats: Sequence[Seat]) -> Iterator[Job]:
    arrived = Arrived.of(frame)
    try:
        pointer = Pointer.unpack(arrived.content) if arrived.content else None
    except Unreadable as problem:
        drop("events of observers", problem)
        return
    by_view: dict[View, list[Seat]] = {}
    for seat in seats:
        if seat.awaits(arrived):
            by_view.setdefault(seat.view, []).append(seat)
    for view, those in by_view.items():
        if pointer is None or view.is_affected_by(pointer):
            yield Job(view, those, arrived.position, pointer or view.own_pointer())


def _reads(view: View, jobs: Sequence[Job]) -> Iterator[Callable[[], None]]:
    """Yield what has to be read for the jobs of a view; for threads."""
    by_database: dict[str, list[Job]] = {}
    for job in jobs:
        if job.pointer is None:
            yield partial(_attempt, _read_snapshot, [job])
        elif job.pointer.action != "delete":
            by_database.setdefault(job.pointer.using, []).append(job)
    for those in by_database.values():
        yield partial(_attempt, _read_rows, those)


def _attempt(read: Any, jobs: list[Job]) -> None:
    try:
        read(jobs)
    except Exception as error:
        for job in jobs:
            job.error = error


def _read_rows(jobs: list[Job]) -> None:
    pointers = {job.pointer.key: job.pointer for job in jobs if job.pointer}
    using = next(iter(pointers.values())).using
    rows = jobs[0].view.read([p.pk for p in pointers.values()], using=using)
    for job in jobs:
        assert job.pointer is not None
        job.row = rows.get(job.pointer.key)


def _read_snapshot(jobs: list[Job]) -> None:
    [job] = jobs
    assert isinstance(job.view, ListView)
    view, consumers = job.view, [seat.consumer for seat in job.seats]
    view.count(consumers[0])
    shared = view.shared_snapshot(consumers)
    job.snapshots = {
        seat: shared or encode(view.snapshot(seat.consumer, seat.call.wanted))
        for seat in job.seats
    }


def _tellings(job: Job) -> Iterator[Telling]:
    if job.error is not None:
        for seat in job.seats:
            seat.refuse(job.error, "update")
    elif job.pointer is None:
        yield from _snapshot_tellings(job)
    elif isinstance(job.view, ListView):
        yield from _list_tellings(job, job.view, job.pointer)
    else:
        yield from _instance_tellings(job, job.pointer)


def _snapshot_tellings(job: Job) -> Iterator[Telling]:
    for seat, text in (job.snapshots or {}).items():
        seat.hidden.clear()
        yield Telling(seat, "snapshot", text, job.position, job.frames)


def _list_tellings(job: Job, view: ListView, pointer: Pointer) -> Iterator[Telling]:
    action = view.judge(pointer.key, visible=job.row is not None)
    if action is None:
        return
    for seat in job.seats:
        if _holds_rows(seat):
            yield from _telling(job, seat, action, pointer)


def _holds_rows(seat: Seat) -> bool:
    """Count the rows that are new; a client with too many is told no more."""
    try:
        seat.hold_rows()
    except TooMany as error:
        seat.consumer.subscriptions.discard(seat)
        seat.refuse(error)
    return seat.active


def _instance_tellings(job: Job, pointer: Pointer) -> Iterator[Telling]:
    visible = job.row is not None
    for seat in job.seats:
        was_shown, seat.shown = seat.shown, visible
        if visible:
            yield from _telling(job, seat, "update" if was_shown else "create", pointer)
        elif was_shown:
            yield from _telling(job, seat, "delete", pointer)


def _telling(job: Job, seat: Seat, action: str, pointer: Pointer) -> Iterator[Telling]:
    place = job.position, job.frames
    if job.row is None:
        yield Telling(seat, action, gone_text(pointer.key), *place, key=pointer.key)
    elif text := job.row.text_for(job.view.audience_of(seat.consumer)):
        yield Telling(seat, action, text, *place, job.row.instance, pointer.key)
