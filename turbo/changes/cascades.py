"""
The related rows of an object that are deleted together with it.

When a room is deleted, Django reads its messages, deletes them, and sends the signals
of each one. After the commit there is no room, but Django has had it in memory all the
time, and so the messages of the hooks can have it too, without a query.

All signals before the deletes are sent first. They note the rows to which the foreign
keys of watched models point, and those to which the keys of these rows point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

from django.db.models import ForeignKey, Model

from turbo.changes.change import image
from turbo.changes.foreign_keys import cascading_keys
from turbo.changes.guarded import guarded
from turbo.changes.kept import keep, peek
from turbo.changes.watchlist import concrete_classes, watchlist

__all__ = ["keep_related", "needed", "on_parent_delete"]

ForeignKeyField: TypeAlias = "ForeignKey[Any, Any]"
#: A foreign key and its value.
Reference: TypeAlias = tuple[ForeignKeyField, Any]

_DELETING = "deleting"


class _Deleting:
    """The rows that one ``delete()`` deletes, by the references to them."""

    def __init__(self) -> None:
        # The caller's own object may be among them, and this is kept as long as that.
        # Images have its related objects, which may have it in turn.
        self._rows: WeakValueDictionary[Reference, Model] = WeakValueDictionary()
        self._images: WeakValueDictionary[Reference, Model] = WeakValueDictionary()

    def add(self, reference: Reference, row: Model) -> None:
        self._rows[reference] = row
        self._images.pop(reference, None)

    def complete(self, instance: Model) -> None:
        """Give ``instance`` the related rows that are deleted, as they were."""
        related = instance._state.fields_cache
        for field in cascading_keys(type(instance)):
            reference = field, vars(instance).get(field.attname)
            row = self._rows.get(reference)
            if row is not None and related.get(field.name, row) is row:
                related[field.name] = self._image(reference, row)

    def _image(self, reference: Reference, row: Model) -> Model:
        twin = self._images.get(reference)
        if twin is None:
            self._images[reference] = twin = image(row, type(row), stored=False)
            self.complete(twin)
        return twin


def needed() -> set[ForeignKeyField]:
    """Return the cascading keys of watched models, and of those that they point to."""
    found: set[ForeignKeyField] = set()
    models = [model for watch in watchlist for model in concrete_classes(watch.model)]
    while models:
        new = set(cascading_keys(models.pop())) - found
        found |= new
        others: list[Any] = [field.remote_field.model for field in new]
        models += (other for other in others if isinstance(other, type))
    return found


def on_parent_delete(field: ForeignKeyField) -> Callable[..., None]:
    """Return the receiver of ``pre_delete`` for the model that ``field`` points to."""
    target = field.target_field.attname

    @guarded
    def receive(instance: Model, using: str, origin: Any = None, **kwargs: Any) -> None:
        if origin is None:
            return
        deleting = peek(using, origin, _DELETING)
        if deleting is None:
            deleting = _Deleting()
            keep(using, origin, _DELETING, deleting)
        deleting.add((field, getattr(instance, target)), instance)

    return receive


def keep_related(twin: Model, using: str, origin: Any) -> None:
    """Give the copy of a deleted object the related rows that are deleted with it."""
    deleting = peek(using, origin, _DELETING)
    if deleting is not None:
        deleting.complete(twin)
