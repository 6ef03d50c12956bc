"""The foreign keys of models."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeAlias

from django.core.exceptions import FieldDoesNotExist
from django.db.models import CASCADE, ForeignKey, Model

__all__ = ["ForeignKeys", "cascading_keys", "foreign_keys"]

ForeignKeys: TypeAlias = "tuple[ForeignKey[Any, Any], ...]"


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
