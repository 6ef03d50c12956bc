"""
The records of a transaction, reported at its commit as one change per object.

Django keeps, drops and runs the hooks of ``on_commit``, so the closure of such a hook
is the only place that holds a record. When a savepoint is rolled back, its records are
dropped.

At the commit the hooks run one by one, and none of them knows which later ones still
exist. So an object is reported by the hook of its *last* record, when all surviving
records are known. Since that record may have been dropped, there is a second hook
beside it that does not belong to any savepoint.
"""

from __future__ import annotations

import logging
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from turbo.changes.change import ModelChange
from turbo.changes.watchlist import Watch, watchlist
from turbo.typing import ChangeAction

__all__ = ["Heard", "Record", "enter"]

logger = logging.getLogger(__name__)

Key: TypeAlias = tuple[type[Model], Any]

_ATTRIBUTE = "_turbo_journal"


class Heard(NamedTuple):
    """The values that one watch keeps from one signal."""

    mark: Any
    before: Any


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Record:
    """One signal about one row, for the watches that existed then."""

    model: type[Model]
    pk: Any
    action: ChangeAction
    using: str
    update_fields: frozenset[str] | None
    instance: Model
    heard: Mapping[Watch, Heard]

    @property
    def key(self) -> Key:
        """Return the key that all records of one object share."""
        return self.model, self.pk


class Journal:
    """
    The order of one transaction's records; the records themselves are in the hooks.

    The connection has a weak reference to it and the hooks have strong ones, so it is
    dropped with them. It belongs to the thread that uses the connection.
    """

    def __init__(self) -> None:
        self.closed = False
        self._count = 0
        #: The number of the last record of each object, rolled back or not.
        self._last: dict[Key, int] = {}
        #: The records that survived until the commit, in the order of the first ones.
        self._committed: OrderedDict[Key, list[Record]] = OrderedDict()

    def number(self, record: Record) -> int:
        """Return the number of a new record."""
        self._count += 1
        self._last[record.key] = self._count
        return self._count

    def knows(self, record: Record) -> bool:
        return record.key in self._last

    def commit(self, number: int, record: Record | None = None) -> None:
        """Add the surviving record; report the objects whose records are complete."""
        self.closed = True
        if record is not None:
            self._committed.setdefault(record.key, []).append(record)
        while self._committed:
            key = next(iter(self._committed))
            if self._last[key] > number:
                return
            _tell(self._committed.pop(key))


def enter(connection: BaseDatabaseWrapper, record: Record) -> None:
    """Report ``record`` when the connection's transaction commits."""
    if not connection.in_atomic_block and connection.get_autocommit():
        _tell([record])
        return
    journal = _journal_of(connection)
    again = journal.knows(record)
    number = journal.number(record)

    def commit() -> None:
        journal.commit(number, record)

    def settle() -> None:
        journal.commit(number)

    if connection.in_atomic_block:
        connection.on_commit(commit, robust=True)
    else:
        # After set_autocommit(False), on_commit() raises an exception, and the save
        # would fail. Hooks run when autocommit is set again; rollback() drops them.
        _append(connection, commit)
    if again and connection.savepoint_ids:
        _append(connection, settle)


def _journal_of(connection: BaseDatabaseWrapper) -> Journal:
    held = vars(connection).get(_ATTRIBUTE)
    journal: Journal | None = held and held()
    if journal is None or journal.closed:
        journal = Journal()
        vars(connection)[_ATTRIBUTE] = weakref.ref(journal)
    return journal


def _append(connection: BaseDatabaseWrapper, hook: Callable[[], None]) -> None:
    """Add a hook that does not belong to any savepoint."""
    hooks: list[Any] = connection.run_on_commit
    hooks.append((set(), hook, True))


def _tell(records: Sequence[Record]) -> None:
    """Call the watches that existed when one of the object's records was made."""
    for watch in dict.fromkeys(watch for record in records for watch in record.heard):
        if watch not in watchlist:
            continue
        try:
            change = _merge(watch, [r for r in records if watch in r.heard])
            if change is not None:
                watch.callback(change)
        except Exception:
            last = records[-1]
            logger.exception(
                "The %s of %s %r was committed, but a watcher failed to handle it.",
                last.action,
                last.model._meta.label,
                last.pk,
            )


def _merge(watch: Watch, records: Sequence[Record]) -> ModelChange | None:
    """Return one change that combines an object's records, or ``None``."""
    first, last = records[0], records[-1]
    existed, exists = first.action != "create", last.action != "delete"
    if not existed and not exists:
        return None
    action: ChangeAction = "delete" if not exists else "update" if existed else "create"
    befores = (r.heard[watch].before for r in records)
    return ModelChange(
        model=last.model,
        instance=watch.form(last.instance, last.model, stored=exists),
        pk=last.pk,
        action=action,
        using=last.using,
        update_fields=_merge_fields(records) if action == "update" else None,
        mark=last.heard[watch].mark,
        before=next((b for b in befores if b is not None), None) if existed else None,
    )


def _merge_fields(records: Sequence[Record]) -> frozenset[str] | None:
    """Return the names of all changed fields, or ``None`` if any may have changed."""
    names: set[str] = set()
    for record in records:
        if record.action != "update" or record.update_fields is None:
            return None
        names |= record.update_fields
    return frozenset(names)
