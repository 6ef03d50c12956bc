"""
What the outbox keeps of a transaction, as JSON.

::

    {"items": [{"model": "chat.message", "pk": 5, "action": "delete", "fields": null,
                "row": 0, "before": null}],
     "rows": [{"model": "chat.message", "columns": {"id": 5, "room_id": 1, "text": "a"},
               "related": {"room": 1}},
              {"model": "chat.room", "columns": {"id": 1, "name": "Lobby"}}]}

An item is a change or a message that waited for the commit. After a delete its row is
there, with the related rows that were deleted together with it. A change in a namespace
has that, too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from django.apps import apps
from django.db.models import Model

from turbo.changes.durability import is_durable
from turbo.changes.foreign_keys import cascading_keys
from turbo.changes.records import Key, Record, summarize
from turbo.changes.rows import SECRET, dump, pk_value, plain, read_row, write_row
from turbo.changes.transaction import WaitingAction
from turbo.conf import get_settings
from turbo.delivery.broadcast import WaitingBroadcast
from turbo.delivery.unreadable import Unreadable
from turbo.replay.base import Append
from turbo.typing import ChangeAction

__all__ = [
    "MANY",
    "Item",
    "Stored",
    "StoredChange",
    "StoredMany",
    "StoredMessage",
    "StoredTransaction",
    "describe",
    "item_in",
    "pack",
]

Item: TypeAlias = dict[str, Any]

#: In place of an action: changes that are not known by their rows.
MANY = "many"


@dataclass(frozen=True, slots=True)
class StoredChange:
    """A change of one object."""

    model: type[Model]
    pk: Any
    action: ChangeAction
    update_fields: frozenset[str] | None
    #: The row that was deleted, and the row before the transaction, if it is known.
    deleted: Model | None
    row_before: Model | None
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class StoredMany:
    """Changes of one model that are not known by their rows."""

    model: type[Model]
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message that waited for the commit; without data it is a gap."""

    name: str
    message: Append
    summary: str | None


Stored: TypeAlias = StoredChange | StoredMany | StoredMessage


# --- Writing


def pack(contents: Sequence[Record | WaitingAction]) -> str | None:
    """Return what is to be kept of a transaction, or ``None`` if that is nothing."""
    items, rows = [], _Rows()
    has_change = False
    for content in _grouped(contents):
        if isinstance(content, WaitingAction):
            if isinstance(content.act, WaitingBroadcast):
                items.append(_pack_message(content.act, content.is_of_several))
        elif (item := _pack_change(content, rows)) is not None:
            has_change = True
            items.append(item)
    if not items or not (has_change or get_settings().outbox):
        return None
    return dump({"items": items, "rows": rows.packed})


def _grouped(
    contents: Sequence[Record | WaitingAction],
) -> list[list[Record] | WaitingAction]:
    """Return the records of each object together, in the place of the first one."""
    groups: list[list[Record] | WaitingAction] = []
    by_key: dict[Key, list[Record]] = {}
    for content in contents:
        if isinstance(content, WaitingAction):
            groups.append(content)
        elif not content.marks:
            continue  # nobody is told of it
        elif (group := by_key.get(content.key)) is not None:
            group.append(content)
        elif is_durable(content.model):
            by_key[content.key] = group = [content]
            groups.append(group)
    return groups


def _pack_change(records: Sequence[Record], rows: _Rows) -> Item | None:
    summary, last = summarize(records), records[-1]
    if summary is None:
        return None
    fields = summary.update_fields
    item = {
        "model": last.model._meta.label_lower,
        "pk": plain(last.pk),
        "action": summary.action,
        "fields": None if fields is None else sorted(fields),
        "row": rows.add(summary.deleted, last.model),
        "before": rows.add(summary.row_before, last.model),
    }
    return item_in(last.namespace, item)


def item_in(namespace: str, item: Item) -> Item:
    """Return an item with the namespace of its change, if there is one."""
    return item | {"namespace": namespace} if namespace else item


def _pack_message(waiting: WaitingBroadcast, is_of_several: bool) -> Item:
    stream, data, key, writer, moment, _ = waiting.message
    if is_of_several:  # nobody will know whether the others have committed
        return {"name": waiting.name, "message": [stream, None], "summary": None}
    return {
        "name": waiting.name,
        "message": [stream, data, key, writer, moment],
        "summary": waiting.summary,
    }


class _Rows:
    """Rows by their number; what several others refer to is there once."""

    def __init__(self) -> None:
        self.packed: list[dict[str, Any]] = []
        self._numbers: dict[int, int] = {}

    def add(self, row: Model | None, model: type[Model]) -> int | None:
        """Add a row, with the related ones that are deleted along with it."""
        if row is None:
            return None
        number = self._numbers.get(id(row))
        if number is None:
            number = self._numbers[id(row)] = len(self.packed)
            packed: dict[str, Any] = {
                "model": model._meta.label_lower,
                "columns": write_row(row, model, _known(row, model)),
            }
            self.packed.append(packed)
            if related := self._related(row, model):
                packed["related"] = related
        return number

    def _related(self, row: Model, model: type[Model]) -> dict[str, int | None]:
        loaded = vars(row._state).get("fields_cache", {})
        found = {
            field.name: loaded.get(field.name)
            for field in (cascading_keys(model) if loaded else ())
        }
        return {
            name: self.add(other, type(other)._meta.concrete_model or type(other))
            for name, other in found.items()
            if isinstance(other, Model)
        }


def _known(row: Model, model: type[Model]) -> list[str]:
    """Return the columns with a value; an expression is none."""
    values = vars(row)
    return [
        field.name
        for field in model._meta.concrete_fields
        if field.name != SECRET
        and not hasattr(values.get(field.attname), "resolve_expression")
    ]


# --- Reading


def describe(text: str) -> str:
    """
    Return what a content is about, without its values.

    >>> describe('{"items": [{"model": "chat.room", "pk": 1, "action": "delete"}]}')
    'delete of chat.room 1'
    """
    try:
        return ", ".join(map(_describe, json.loads(text)["items"]))
    except (ValueError, TypeError, KeyError):
        return f"unreadable: {text:.50}"


def _describe(item: Item) -> str:
    if "message" in item:
        return f"a message to {item['name']}"
    if item["action"] == MANY:
        return f"many changes of {item['model']}"
    return f"{item['action']} of {item['model']} {item['pk']}"


class StoredTransaction:
    """The content of an entry, of which some items may have been told already."""

    def __init__(self, text: str, using: str) -> None:
        try:
            parsed = json.loads(text)
            self.items: list[Item] = parsed["items"]
            self._rows: list[dict[str, Any]] = parsed["rows"]
        except (ValueError, TypeError, KeyError) as error:
            raise Unreadable(f"{text!r:.200}") from error
        #: The alias of the database that the entry is in.
        self.using = using
        self._made: dict[int, Model] = {}

    def only(self, items: Sequence[Item]) -> str:
        """Return the content with these items."""
        return dump({"items": items, "rows": self._rows})

    def read(self, item: Item) -> Stored:
        """Return an item; raise :exc:`Unreadable` if this process cannot read it."""
        try:
            if "message" in item:
                message = Append(*item["message"])
                return StoredMessage(item["name"], message, item["summary"])
            model, namespace = apps.get_model(item["model"]), item.get("namespace", "")
            if item["action"] == MANY:
                return StoredMany(model, namespace)
            fields = item["fields"]
            return StoredChange(
                model,
                pk_value(model, item["pk"]),
                item["action"],
                None if fields is None else frozenset(fields),
                self._row(item["row"]),
                self._row(item["before"]),
                namespace,
            )
        except Exception as error:  # fields of the project convert the values
            raise Unreadable(f"{item!r:.200}") from error

    def _row(self, number: int | None) -> Model | None:
        if number is None:
            return None
        if number not in self._made:
            packed = self._rows[number]
            model = apps.get_model(packed["model"])
            row = read_row(packed["columns"], model, self.using)
            self._made[number] = row
            for name, other in packed.get("related", {}).items():
                row._state.fields_cache[name] = self._row(other)
        return self._made[number]
