"""The records of changes, and what is reported of them after the commit."""

from __future__ import annotations

import logging
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from django.db.models import Model

from turbo.changes.change import ModelChange, image
from turbo.changes.watchlist import Watch, watchlist
from turbo.runtime.namespaces import entered
from turbo.typing import ChangeAction

__all__ = ["Before", "Key", "Record", "Summary", "report", "summarize"]

logger = logging.getLogger(__name__)

#: A model, a primary key, and the namespace.
Key: TypeAlias = tuple[type[Model], Any, str]


class Before(dict[Watch, Any]):
    """The results of the watches' ``before()``, and the stored row that they got."""

    __slots__ = ("row",)

    def __init__(self, row: Model, results: Mapping[Watch, Any]) -> None:
        super().__init__(results)
        self.row = row


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of one object in a transaction."""

    action: ChangeAction
    update_fields: frozenset[str] | None
    #: The instance as it was when it was deleted.
    deleted: Model | None
    #: The row before the transaction, if a watch needed it.
    row_before: Model | None


@dataclass(slots=True, eq=False, kw_only=True)
class Record:
    """One signal about one row, for the watches that existed then."""

    model: type[Model]
    pk: Any
    action: ChangeAction
    using: str
    update_fields: frozenset[str] | None
    instance: Model
    #: The watches that existed, with the results of their ``mark()``.
    marks: Mapping[Watch, Any]
    before: Before | None
    #: The rows of captured tables that were written.
    writes: tuple[tuple[str, str], ...] = ()
    #: The namespace in which it was written.
    namespace: str = ""
    #: The key that all records of one object share.
    key: Key = field(init=False)
    #: What waits together with it, while it waits.
    part: weakref.ref[Callable[[], None]] = field(init=False)
    #: The record of the same object that waits and was made before this one.
    earlier: Record | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.key = self.model, self.pk, self.namespace


class _Reports(threading.local):
    """The watches that have yet to get a change of an object, in one thread."""

    def __init__(self) -> None:
        self.of: dict[tuple[Key, str], deque[tuple[Watch, Sequence[Record]]]] = {}


_reports = _Reports()


def report(records: Sequence[Record]) -> None:
    """
    Call the watches that existed when one of the object's records was made.

    A watch may change the object, which is reported before that watch returns. The
    other watches get the earlier change first, whatever it raises.
    """
    if not records:
        return  # they have been reported
    row = records[0].key, records[0].using
    waiting = _reports.of.setdefault(row, deque())
    waiting.extend((watch, records) for watch in _watches(records))
    failure: BaseException | None = None
    with entered(records[0].namespace):
        while waiting:
            try:
                _tell(*waiting.popleft())
            except BaseException as error:
                failure = failure or error
    _reports.of.pop(row, None)
    if failure is not None:
        raise failure


def _tell(watch: Watch, records: Sequence[Record]) -> None:
    if watch not in watchlist:
        return
    try:
        change = _merge(watch, [r for r in records if watch in r.marks])
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


def _watches(records: Sequence[Record]) -> Iterable[Watch]:
    if len(records) == 1:
        return records[0].marks
    return dict.fromkeys(watch for record in records for watch in record.marks)


def _merge(watch: Watch, records: Sequence[Record]) -> ModelChange | None:
    """Return one change that combines an object's records, or ``None``."""
    records = _in_order(records)
    action, last = _action(records), records[-1]
    if action is None:
        return None
    instance = _as_written(records)
    return ModelChange(
        model=last.model,
        instance=watch.form(instance, last.model, stored=action != "delete"),
        pk=last.pk,
        action=action,
        using=last.using,
        update_fields=_merge_fields(records) if action == "update" else None,
        mark=last.marks[watch],
        before=_first_before(watch, records) if action != "create" else None,
    )


def summarize(records: Sequence[Record]) -> Summary | None:
    """Return what an object's records amount to, or ``None`` if it is nothing."""
    records = _in_order(records)
    action = _action(records)
    if action is None:
        return None
    rows = [record.before.row for record in records if record.before is not None]
    return Summary(
        action,
        _merge_fields(records) if action == "update" else None,
        _as_written(records) if action == "delete" else None,
        rows[0] if rows and action != "create" else None,
    )


def _action(records: Sequence[Record]) -> ChangeAction | None:
    """Return what ordered records amount to; created and deleted is nothing."""
    existed = records[0].action != "create"
    if records[-1].action == "delete":
        return "delete" if existed else None
    return "update" if existed else "create"


def _in_order(records: Sequence[Record]) -> Sequence[Record]:
    """
    Return an object's records in the order in which its row was written.

    Another receiver of ``post_save`` may write a new object again before ours gets the
    signal of its creation.
    """
    if len(records) == 1:
        return records
    ordered: list[Record] = []
    begin = 0  # of what has happened since the last delete
    for record in records:
        if record.action == "create":
            ordered.insert(begin, record)
        else:
            ordered.append(record)
        if record.action == "delete":
            begin = len(ordered)
    return ordered


def _as_written(records: Sequence[Record]) -> Model:
    """
    Return the last instance, with the columns that were written.

    After a partial save, the other columns of its instance may have been set without
    being saved, or be older than what was written by another instance before.
    """
    last = records[-1]
    if last.update_fields is None:
        return last.instance
    whole = [place for place, r in enumerate(records) if r.update_fields is None]
    if not whole:
        return last.instance
    twin = image(last.instance, last.model)
    for column in last.model._meta.concrete_fields:
        written = _writer(records[whole[-1] :], {column.name, column.attname})
        if written is not last.instance:
            _copy_column(column, written, twin)
    return twin


def _copy_column(column: Any, written: Model, twin: Model) -> None:
    """Copy a value and its related object; a computed value is read when needed."""
    related = vars(twin._state).setdefault("fields_cache", {})
    for values, source, name in (
        (vars(twin), vars(written), column.attname),
        (related, vars(written._state).get("fields_cache", {}), column.name),
    ):
        values.pop(name, None)
        if name in source and not column.generated:
            values[name] = source[name]


def _writer(records: Sequence[Record], names: Collection[str]) -> Model:
    """Return the instance with which a column was written last."""
    for record in reversed(records):
        if record.update_fields is None or not record.update_fields.isdisjoint(names):
            return record.instance
    raise AssertionError("the first record has written all columns")


def _first_before(watch: Watch, records: Sequence[Record]) -> Any:
    for record in records:
        if record.before and (before := record.before.get(watch)) is not None:
            return before
    return None


def _merge_fields(records: Sequence[Record]) -> frozenset[str] | None:
    """Return the names of all changed fields, or ``None`` if any may have changed."""
    names: set[str] = set()
    for record in records:
        if record.action != "update" or record.update_fields is None:
            return None
        names |= record.update_fields
    return frozenset(names)
