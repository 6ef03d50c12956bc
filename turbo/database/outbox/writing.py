"""The row that is written right before the commit of a transaction."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now

from turbo import metrics
from turbo.changes.durability import is_used
from turbo.changes.records import Record
from turbo.changes.transaction import WaitingAction
from turbo.database.captured.signals import count_writes, transaction_id
from turbo.database.captured.signals import write as write_signals
from turbo.database.models import OutboxEntry
from turbo.database.outbox.content import pack
from turbo.database.outbox.tracking import EntryPlace, Tracker, get_tracker
from turbo.runtime.failures import log_failure
from turbo.runtime.log_once import once_a_minute

__all__ = ["has_table", "is_in_memory", "lacks_table", "write"]

logger = logging.getLogger("turbo.outbox")

#: Seconds after which a missing table is looked for again.
PAUSE = 10.0

#: When the table of a database was found to be missing.
_missing: dict[str, float] = {}


@dataclass(frozen=True, slots=True)
class _Entry:
    """The row of one transaction, which is of no concern to a forked process."""

    tracker: Tracker
    place: EntryPlace

    def committed(self) -> None:
        """Let the tracker say that this process is alive."""
        if self.tracker is get_tracker():
            self.tracker.hold(self.place)

    def settled(self) -> None:
        """Let the tracker delete the row when what waits now has been sent."""
        if self.tracker is get_tracker():
            self.tracker.settle(self.place)


def write(
    connection: BaseDatabaseWrapper, contents: Sequence[Record | WaitingAction]
) -> _Entry | None:
    """
    Write what waits for a transaction into it; a failure does no harm to it.

    The exception is raised only if the database has ended the transaction with it.
    """
    try:
        if not is_used() or is_in_memory(connection):
            return None
        content, writes = pack(contents), count_writes(contents)
        if content is None and not writes:
            return None
        return _insert(connection, content, writes)
    except Exception as error:
        if connection.needs_rollback:  # not even the savepoint is left
            raise
        metrics.count("not_durable")
        if has_table(connection):
            log_failure("A transaction could not be written into the outbox.", error)
        else:
            _log_missing(connection.alias)
        return None


def _insert(
    connection: BaseDatabaseWrapper, content: str | None, writes: dict[str, Any]
) -> _Entry | None:
    alias, tracker = connection.alias, get_tracker()
    if lacks_table(alias):
        metrics.count("not_durable")
        return None
    with transaction.atomic(using=alias):  # a savepoint
        if writes:
            write_signals(connection, writes)
        if content is None:
            return None
        entry = OutboxEntry(seen=Now(), owner=tracker.owner, content=content)
        if connection.vendor == "postgresql":
            entry.xid = transaction_id()
        entry.save(force_insert=True, using=alias)
    return _Entry(tracker, EntryPlace(alias, entry.pk))


def has_table(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the table of the outbox exists, as far as it can be known."""
    try:
        names = connection.introspection.table_names()
    except Exception:
        return True  # the error of the caller says more
    if OutboxEntry._meta.db_table in names:
        return True
    _missing[connection.alias] = time.monotonic()
    return False


def lacks_table(alias: str) -> bool:
    """Return whether the table of a database was found to be missing just now."""
    return time.monotonic() - _missing.get(alias, -PAUSE) < PAUSE


def _log_missing(alias: str) -> None:
    if once_a_minute(f"outbox of {alias}"):
        logger.error(
            "Changes in the database %r are not durable, because it has no table for "
            "the outbox. Run manage.py migrate turbo_database --database %s.",
            alias,
            alias,
        )


def is_in_memory(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the database ends with this process anyway."""
    ask = getattr(connection, "is_in_memory_db", None)
    return bool(ask is not None and ask())
