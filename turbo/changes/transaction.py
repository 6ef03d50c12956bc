"""
From a signal to the commit: one change per object and transaction.

Django itself keeps, drops and runs the hooks of ``on_commit``, so a record lives in
the closure of such a hook and nowhere else. A savepoint that is rolled back takes its
records with it.

At the commit the hooks run one by one, and none sees which of the later ones are still
there. So an object is told of at the hook of its *last* record, when all that survived
are known. As that record may be the one that was dropped, a second hook stands beside
it that no savepoint owns.
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
    """What one watch keeps of one signal."""

    mark: Any
    before: Any


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Record:
    """One signal about one row, for those who watched at that moment."""

    model: type[Model]
    pk: Any
    action: ChangeAction
    using: str
    update_fields: frozenset[str] | None
    instance: Model
    heard: Mapping[Watch, Heard]

    @property
    def key(self) -> Key:
        """Return what is the same for all records of one object."""
        return self.model, self.pk


class Journal:
    """
    The order of one transaction's records; the records themselves are in the hooks.

    The connection holds it weakly and the hooks strongly, so that it ends with them.
    It belongs to the thread that uses the connection.
    """

    def __init__(self) -> None:
        self.closed = False
        self._count = 0
        #: The number of the last record of each object, rolled back or not.
        self._last: dict[Key, int] = {}
        #: What survived until the commit, by object, in the order of the first record.
        self._committed: OrderedDict[Key, list[Record]] = OrderedDict()

    def number(self, record: Record) -> int:
        """Expect ``record``, and return its number."""
        self._count += 1
        self._last[record.key] = self._count
        return self._count

    def knows(self, record: Record) -> bool:
        return record.key in self._last

    def commit(self, number: int, record: Record | None = None) -> None:
        """Take the surviving record of this number; tell what can change no more."""
        self.closed = True
        if record is not None:
            self._committed.setdefault(record.key, []).append(record)
        while self._committed:
            key = next(iter(self._committed))
            if self._last[key] > number:
                return
            _tell(self._committed.pop(key))


def enter(connection: BaseDatabaseWrapper, record: Record) -> None:
    """Tell of ``record`` when the connection's transaction commits, if it does."""
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
        # set_autocommit(False): on_commit() refuses, and the save would fail. Hooks run
        # when autocommit is set again; rollback() drops them.
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
    """Add a hook that no savepoint owns."""
    hooks: list[Any] = connection.run_on_commit
    hooks.append((set(), hook, True))


def _tell(records: Sequence[Record]) -> None:
    """Call back everybody who watched when one of the object's records was made."""
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
                "The %s of %s %r was committed, and a watcher failed to tell of it.",
                last.action,
                last.model._meta.label,
                last.pk,
            )


def _merge(watch: Watch, records: Sequence[Record]) -> ModelChange | None:
    """Make one change of an object's records: what they come to, taken together."""
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
    """Join the names of the changed fields; ``None``, any field, wins."""
    names: set[str] = set()
    for record in records:
        if record.action != "update" or record.update_fields is None:
            return None
        names |= record.update_fields
    return frozenset(names)
