"""
Foreign keys, and whether an instance's still has the value that was loaded.

Django assigns foreign keys through a descriptor, also when it loads rows. The one here
does the same, and notes when another value replaces the first one. So loading rows
costs no more than without it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeAlias

from django.core.exceptions import FieldDoesNotExist
from django.db import connections
from django.db.models import CASCADE, ForeignKey, Model
from django.db.models.fields.related_descriptors import ForeignKeyDeferredAttribute

__all__ = [
    "ForeignKeys",
    "are_as_loaded",
    "cascading_keys",
    "foreign_keys",
    "note_assignments",
    "note_save",
]

ForeignKeys: TypeAlias = "tuple[ForeignKey[Any, Any], ...]"

#: An attribute of an instance's ``_state``: the keys that have been assigned.
_ASSIGNED = "_turbo_assigned"


class _NotingAttribute(ForeignKeyDeferredAttribute):
    """``message.room_id``, which notes assignments."""

    field: Any

    def __set__(self, instance: Model, value: Any) -> None:
        field, values = self.field, instance.__dict__
        old = values.get(field.attname, self)
        if old != value:
            if old is not self:  # the first value is the loaded one
                vars(instance._state).setdefault(_ASSIGNED, set()).add(field.attname)
            if field.is_cached(instance):
                field.delete_cached_value(instance)
        values[field.attname] = value


def foreign_keys(model: type[Model], names: Collection[str]) -> ForeignKeys | None:
    """Return the fields with these names; ``None`` if one is no foreign key."""
    fields = []
    for name in names:
        try:
            field: Any = model._meta.get_field(name)
        except FieldDoesNotExist:
            return None
        if not isinstance(field, ForeignKey):
            return None
        fields.append(field)
    return tuple(fields)


def cascading_keys(model: type[Model]) -> ForeignKeys:
    """Return the foreign keys of ``model`` along which Django deletes its rows."""
    return tuple(
        field
        for field in model._meta.concrete_fields
        if isinstance(field, ForeignKey)
        and field.remote_field.on_delete is CASCADE
        and not field.remote_field.parent_link
    )


def note_assignments(fields: ForeignKeys) -> None:
    """Note assignments to these fields from now on."""
    for field in fields:
        # Not if a package has put its own descriptor there.
        if type(vars(field.model).get(field.attname)) is ForeignKeyDeferredAttribute:
            setattr(field.model, field.attname, _NotingAttribute(field))


def are_as_loaded(instance: Model, fields: ForeignKeys, using: str) -> bool:
    """
    Return whether these fields have the values that were loaded from ``using``.

    If that cannot be known, return ``False``.
    """
    state, values = instance._state, vars(instance)
    if state.adding or state.db != using:
        return False
    assigned = vars(state).get(_ASSIGNED, ())
    for field in fields:
        name = field.attname
        if name not in values or name in assigned:
            return False
        if type(vars(field.model).get(name)) is not _NotingAttribute:
            return False
    return True


def note_save(
    instance: Model, using: str, update_fields: Collection[str] | None
) -> None:
    """Forget the assignments that are stored now and cannot be rolled back."""
    assigned = vars(instance._state).get(_ASSIGNED)
    if not assigned:
        return
    connection = connections[using]
    if connection.in_atomic_block or not connection.get_autocommit():
        return
    for name in list(assigned):
        field = instance._meta.get_field(name)
        if update_fields is None or not {field.name, name}.isdisjoint(update_fields):
            assigned.discard(name)
