"""
What is left to be told of a transaction when signals have told the rest.

Writes are compared by their number, for each row: after ``save()`` and a raw ``UPDATE``
of the same row, the signal stands for one statement, and the other one is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from django.apps import apps
from django.db.models import Model

from turbo.changes.captured import is_captured
from turbo.changes.foreign_keys import cascading_keys
from turbo.changes.rows import dump, pk_value, plain
from turbo.changes.watchlist import concrete_classes
from turbo.database.captured.signals import SIGNALS
from turbo.database.outbox.content import MANY, Item, item_in
from turbo.typing import ChangeAction

__all__ = ["Statement", "remainder"]

Columns: TypeAlias = Mapping[str, Any]
#: A model and a primary key.
Key: TypeAlias = tuple[type[Model], Any]

ACTIONS: Mapping[str, ChangeAction] = {
    "insert": "create",
    "update": "update",
    "delete": "delete",
}


class Statement(NamedTuple):
    """A row of the table, with the label of a model, and its rows if they are known."""

    model: str
    operation: str
    content: Any
    size: int


class _Write(NamedTuple):
    """What one statement has done to a row; the columns that it had before are JSON."""

    action: ChangeAction
    columns: Columns


def remainder(
    statements: Sequence[Statement], unnamed: Collection[str], namespace: str = ""
) -> tuple[str | None, int]:
    """
    Return what is left of a transaction as a content of the outbox, and its size.

    ``unnamed`` are the labels of models of whose rows there are too many.
    """
    rest = _Rest(statements, unnamed)
    items = [item_in(namespace, item) for item in [*rest.many(), *rest.items()]]
    if not items:
        return None, 0
    return dump({"items": items, "rows": rest.rows.packed}), len(items)


class _Rest:
    """The writes of one transaction, without those that signals have told."""

    def __init__(
        self, statements: Sequence[Statement], unnamed: Collection[str]
    ) -> None:
        self._statements = statements
        self._unnamed = set(unnamed)
        self._signals: dict[str, Any] = {}
        self._writes: dict[Key, list[_Write]] = {}
        deleted: dict[Key, Columns] = {}
        for statement in statements:
            if statement.operation == SIGNALS:
                self._signals = statement.content
            elif statement.content is None:
                self._unnamed.add(statement.model)
        for model, statement in self._named():
            action = ACTIONS[statement.operation]
            for columns in statement.content:
                key = model, _pk(model, columns)
                self._writes.setdefault(key, []).append(_Write(action, columns))
                if action == "delete":
                    deleted[key] = columns
        self._subtract()
        self._pass_to_children()
        #: The rows that the items need.
        self.rows = _Rows(deleted)

    def _named(self) -> Iterator[tuple[type[Model], Statement]]:
        for statement in self._statements:
            if statement.operation in ACTIONS and statement.model not in self._unnamed:
                yield apps.get_model(statement.model), statement

    def _subtract(self) -> None:
        for label, told in self._signals.items():
            model = apps.get_model(label)
            signals: dict[Any, Counter[str]] = {}
            for pk, action, count in told["rows"]:
                of_row = signals.setdefault(pk_value(model, pk), Counter())
                of_row[action] += count
            for pk, of_row in signals.items():
                if writes := self._writes.get((model, pk)):
                    self._writes[model, pk] = _without(writes, of_row)

    def _pass_to_children(self) -> None:
        """Let updates of a parent's table be updates of the rows of its children."""
        for (model, pk), writes in list(self._writes.items()):
            updates = [w._replace(columns={}) for w in writes if w.action == "update"]
            for child in _children(model) if updates else ():
                self._writes.setdefault((child, pk), []).extend(updates)

    def many(self) -> Iterator[Item]:
        """Yield an item for each model of whose rows there are too many."""
        for label in sorted(self._unnamed):
            those = [s for s in self._statements if s.model == label]
            told = self._signals.get(label, {"count": 0})["count"]
            is_emptied = any(s.operation not in ACTIONS for s in those)
            if is_emptied or sum(s.size for s in those) > told:
                yield {"model": label, "action": MANY}

    def items(self) -> Iterator[Item]:
        """Yield one item for each row, in the order of the first writes."""
        for (model, pk), writes in self._writes.items():
            action = _action(writes)
            if action is None:
                continue
            before = writes[0].columns if action != "create" else None
            yield {
                "model": model._meta.label,
                "pk": plain(pk),
                "action": action,
                "fields": None,
                "row": self.rows.of_deleted(model, pk) if action == "delete" else None,
                "before": self.rows.add(model, before) if before else None,
            }


def _pk(model: type[Model], columns: Columns) -> Any:
    fields: Any = model._meta.pk_fields
    keys = [columns[field.column] for field in fields]
    return pk_value(model, keys if len(keys) > 1 else keys[0])


def _without(writes: Sequence[_Write], signals: Counter[str]) -> list[_Write]:
    """
    Return the writes for which there is no signal; the same action comes first.

    ``save()`` may send a signal without a statement, which cannot stand for a delete.
    """
    rest = []
    for write in writes:
        if signals[write.action]:
            signals[write.action] -= 1
        else:
            rest.append(write)
    others = [write for write in rest if write.action != "delete"]
    told = others[: signals.total()]
    return [write for write in rest if not any(write is other for other in told)]


def _action(writes: Sequence[_Write]) -> ChangeAction | None:
    """Return what writes amount to; created and deleted is nothing."""
    if not writes:
        return None
    existed = writes[0].action != "create"
    if writes[-1].action == "delete":
        return "delete" if existed else None
    return "update" if existed else "create"


def _children(model: type[Model]) -> Iterator[type[Model]]:
    """Yield the captured models whose rows have the same keys as those of a parent."""
    for child in concrete_classes(model):
        is_own = child._meta.concrete_model is child is not model
        if is_own and is_captured(child) and model._meta.pk in _link(child):
            yield child


def _link(model: type[Model]) -> list[Any]:
    """Return the fields that the primary key of a child stands for."""
    key: Any = model._meta.pk
    fields = [key]
    while key.remote_field and key.remote_field.parent_link:
        key = key.target_field
        fields.append(key)
    return fields


@dataclass(slots=True)
class _Rows:
    """Rows of the content by their number; those that were deleted refer to others."""

    deleted: Mapping[Key, Columns]
    packed: list[dict[str, Any]] = field(default_factory=list)
    _numbers: dict[Key, int] = field(default_factory=dict)

    def add(self, model: type[Model], columns: Columns) -> int:
        """Add the columns of one table; the others are not known."""
        fields: Any = model._meta.local_concrete_fields
        known = {f.attname: columns[f.column] for f in fields if f.column in columns}
        self.packed.append({"model": model._meta.label, "columns": known})
        return len(self.packed) - 1

    def of_deleted(self, model: type[Model], pk: Any) -> int:
        """Add a deleted row, with its parents' and the rows that it depended on."""
        key = model, pk
        if key in self._numbers:
            return self._numbers[key]
        packed: dict[str, Any] = {"model": model._meta.label}
        number = self._numbers[key] = len(self.packed)
        self.packed.append(packed)
        columns = packed["columns"] = {}
        for table in (*model._meta.all_parents, model):
            known = self.deleted.get((table, pk), {})
            fields: Any = table._meta.local_concrete_fields
            columns |= {f.attname: known[f.column] for f in fields if f.column in known}
        if related := dict(self._related(model, columns)):
            packed["related"] = related
        return number

    def _related(
        self, model: type[Model], columns: Columns
    ) -> Iterator[tuple[str, int]]:
        for key in cascading_keys(model):
            other: Any = key.remote_field.model
            value = columns.get(key.attname)
            if value is None or not key.target_field.primary_key:
                continue
            other = other._meta.concrete_model
            pk = pk_value(other, value)
            if (other, pk) in self.deleted:
                yield key.name, self.of_deleted(other, pk)
