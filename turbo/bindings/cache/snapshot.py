"""The rows of a binding as they were at one version."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from turbo.bindings.rows.schema import RowSchema
from turbo.bindings.store import Contents, Row, State
from turbo.changes.rows import pk_text

__all__ = ["Snapshot"]


class Snapshot:
    """
    All rows of a binding, in order. A snapshot never changes.

    Without a ``state`` it was read from the database, and has no version.
    """

    def __init__(
        self, schema: RowSchema, state: State | None, texts: Mapping[str, str]
    ) -> None:
        self.state = state
        #: The values by primary key; both are JSON.
        self.texts = texts
        self._schema = schema
        # Filled on first use. If two threads do so at once, their entries are equal.
        self._made: dict[str, tuple[Any, Callable[[], Any]]] = {}

    @classmethod
    def of_rows(cls, schema: RowSchema, rows: Iterable[Row]) -> Snapshot:
        """Return the snapshot of rows just read from the database."""
        return cls(schema, None, {row.pk: row.value for row in rows})

    def follow(self, contents: Contents) -> Snapshot:
        """Return a new snapshot with the rows or changes from the store."""
        if contents.changes is None:
            texts: Mapping[str, str] = dict(contents.rows)
        else:
            texts = _changed(self.texts, contents.changes)
        snapshot = Snapshot(self._schema, contents.state, texts)
        if texts is self.texts:
            snapshot._made = self._made
        else:
            snapshot._made = {
                pk: made
                for pk, made in self._made.copy().items()
                if texts.get(pk) == self.texts[pk]
            }
        return snapshot

    def keys(self) -> list[Any]:
        """Return the primary keys, in order."""
        return [self._entry(pk)[0] for pk in self.texts]

    def all(self) -> dict[Any, Any]:
        """Return all rows by primary key, in order; instances are new at each call."""
        entries = [self._entry(pk) for pk in self.texts]
        return {pk: make() for pk, make in entries}

    def get(self, pk: Any) -> Any:
        """Return one row, or ``None`` if there is none."""
        text = pk_text(pk)
        return self._entry(text)[1]() if text in self.texts else None

    def _entry(self, pk: str) -> tuple[Any, Callable[[], Any]]:
        entry = self._made.get(pk)
        if entry is None:
            made = self._schema.pk(pk), self._schema.read(self.texts[pk])
            entry = self._made[pk] = made
        return entry


def _changed(texts: Mapping[str, str], changes: Iterable[str]) -> Mapping[str, str]:
    """Return the rows after some changes, each of which has the index of its row."""
    if not changes:
        return texts
    values, order = dict(texts), list(texts)
    for change in map(json.loads, changes):
        if change["action"] == "order":
            listed = dict.fromkeys(map(pk_text, change["order"]))
            order = [*listed, *(pk for pk in order if pk not in listed)]
            continue
        pk = pk_text(change["pk"])
        if values.pop(pk, None) is not None:
            order.remove(pk)
        if change["action"] != "delete":
            order.insert(change["index"], pk)
            values[pk] = _text(change["value"])
    return {pk: values[pk] for pk in order}


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
