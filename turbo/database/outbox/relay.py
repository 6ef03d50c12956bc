"""
The telling of what ended processes have left in the outbox.

Every process that sends or serves looks for rows whose process has not said for some
seconds that it is alive. It claims them and calls the watchers of their changes. A row
that cannot be told is tried again after a pause that grows, alone, and finally set
aside. So is one that ends the process each time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import takewhile

from django.db import connections, router
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from turbo import metrics
from turbo.changes.durability import is_used
from turbo.database.models import OutboxEntry
from turbo.database.outbox.content import StoredTransaction, describe
from turbo.database.outbox.retelling import tell_all
from turbo.database.outbox.tracking import EntryPlace, Tracker, get_tracker
from turbo.database.outbox.writing import (
    has_table,
    is_in_memory,
    lacks_table,
)
from turbo.database.rounds import Rounds
from turbo.delivery.broadcast import flush, get_publisher, moment
from turbo.delivery.unreadable import Unreadable
from turbo.runtime.backoff import OutageLog

__all__ = [
    "aliases",
    "attempt_all",
    "left_behind",
    "rounds",
    "set_aside",
    "start",
    "tell_left",
]

logger = logging.getLogger("turbo.outbox")

#: Seconds between two looks.
INTERVAL = 2.0
#: Seconds after which a process that has said nothing is taken for dead.
PATIENCE = 5.0
#: Attempts after which a row is set aside.
TRIES = 5
#: Rows that are claimed together.
BATCH = 50
#: Broadcasts that may wait in this process before it claims more.
WAITING = 1_000


def aliases() -> Iterator[str]:
    """Yield the databases in which this process may look for rows."""
    for alias in connections:
        if not router.allow_migrate_model(alias, OutboxEntry):
            continue
        if connections[alias].settings_dict["TEST"]["MIRROR"]:
            continue  # a replica, which cannot be written to
        if not (is_in_memory(connections[alias]) or lacks_table(alias)):
            yield alias


def left_behind(alias: str) -> QuerySet[OutboxEntry]:
    """Return the rows whose processes have ended, in the order of their commits."""
    rows = OutboxEntry.objects.using(alias).filter(failed=False)
    return rows.filter(seen__lt=Now() - timedelta(seconds=PATIENCE)).order_by("pk")


def set_aside(alias: str) -> QuerySet[OutboxEntry]:
    """Return the rows that could not be told."""
    return OutboxEntry.objects.using(alias).filter(failed=True).order_by("pk")


def tell_left(alias: str, tracker: Tracker | None = None) -> int:
    """Tell the rows in one database; return how many were claimed."""
    tracker, count = tracker or get_tracker(), 0
    while _has_room() and (claimed := _claim(alias, tracker)):
        count += len(claimed)
        moment()  # once known, the log can tell who was faster
        told = attempt_all(alias, claimed, tracker)
        # Attempts are counted against what has ended its process, and not against what
        # only waits for Redis when that happens.
        mine = OutboxEntry.objects.using(alias).filter(owner=tracker.owner)
        mine.filter(pk__in=told).update(attempts=0)
    return count


def _has_room() -> bool:
    """Return whether the publisher can take more, perhaps after a while."""
    return get_publisher().waiting() < WAITING or flush(INTERVAL)


def _claim(alias: str, tracker: Tracker) -> list[OutboxEntry]:
    """Make some rows this process's own; one that was tried before comes alone."""
    due = left_behind(alias)
    found = [
        (pk, attempts)
        for pk, attempts in due.values_list("pk", "attempts")[:BATCH]
        if not tracker.holds(EntryPlace(alias, pk))
    ]
    fresh = [pk for pk, _ in takewhile(lambda row: not row[1], found)]
    wanted = fresh or [pk for pk, _ in found[:1]]
    if not wanted:
        return []
    claim = {"owner": tracker.owner, "seen": Now(), "attempts": F("attempts") + 1}
    due.filter(pk__in=wanted).order_by().update(**claim)
    rows = OutboxEntry.objects.using(alias).filter(owner=tracker.owner)
    return list(rows.filter(pk__in=wanted, attempts__gt=0).order_by("pk"))


def attempt_all(
    alias: str, claimed: Sequence[OutboxEntry], tracker: Tracker
) -> list[int]:
    """Tell rows in order; return the keys of those that have been told."""
    places = {entry: EntryPlace(alias, entry.pk) for entry in claimed}
    told = []
    for place in places.values():
        tracker.hold(place)
    try:
        for entry, place in list(places.items()):
            if _attempt(entry, alias):
                told.append(entry.pk)
                tracker.settle(place)
                del places[entry]
    finally:
        for place in places.values():
            tracker.release(place)
    return told


def _attempt(entry: OutboxEntry, alias: str) -> bool:
    """Tell a row; return whether all of it has been told."""
    error: BaseException | None
    try:
        if entry.attempts > TRIES:
            raise Killed(f"It has ended its process {TRIES} times.")
        content = StoredTransaction(entry.content, alias)
        failed, error = tell_all(content, retried=entry.attempts > 0)
        if failed:
            entry.content = content.only(failed)
    except (Killed, Unreadable) as problem:
        error = problem
    if error is not None:
        _note_failure(entry, alias, error)
        return False
    if entry.attempts:
        metrics.count("told_again")
    return True


class Killed(Exception):
    """The telling of a row has ended its process again and again."""


def _note_failure(entry: OutboxEntry, alias: str, error: BaseException) -> None:
    if entry.attempts >= TRIES:
        metrics.count("set_aside")
        logger.error(
            "What a transaction has changed cannot be told, so it is set aside in the "
            "outbox of %r with the number %s: %s",
            alias,
            entry.pk,
            describe(entry.content),
            exc_info=error,
        )
    else:
        logger.info("%s in the outbox cannot be told yet.", entry, exc_info=error)
    # The next attempt follows when this time has become old.
    pause = timedelta(seconds=2.0**entry.attempts)
    rows = OutboxEntry.objects.using(alias)  # whatever a router says of writes
    rows.filter(pk=entry.pk, owner=entry.owner).update(
        content=entry.content,
        failed=entry.attempts >= TRIES,
        owner="",
        seen=Now() + pause,
    )


def _lacks_table(alias: str) -> bool:
    """Return whether there is no outbox any more, which the writing has said."""
    return not has_table(connections[alias])


def _outage_log(alias: str) -> OutageLog:
    return OutageLog(
        logger,
        down=f"The outbox of {alias!r} cannot be read: %(type)s: %(error)s",
        up=f"The outbox of {alias!r} is read again.",
    )


rounds = Rounds(
    "turbo-relay",
    interval=INTERVAL,
    aliases=aliases,
    look=tell_left,
    outages=_outage_log,
    explains=_lacks_table,
)


def start() -> None:
    """Look for rows from now on, if this project has an outbox."""
    if is_used():
        rounds.start()
