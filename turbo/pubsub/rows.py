"""The columns of a deleted row: written where it was deleted, read by the server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from django.db.models import Field, Model

__all__ = ["pk_from_json", "read_row", "write_row"]

M = TypeVar("M", bound=Model)

#: Left out unless it is asked for: it is not for the wire.
SECRET = "password"


def write_row(
    instance: Model, model: type[Model], names: Iterable[str] | None = None
) -> dict[str, Any]:
    """
    Return the columns of ``instance`` by attribute, as JSON can hold them.

    What was never loaded stays away. ``names`` chooses fields; the key is always there.
    """
    wanted = None if names is None else set(names)
    return {
        field.attname: _write(field, instance)
        for field in model._meta.concrete_fields
        if field.attname in vars(instance) and _is_wanted(field, model, wanted)
    }


def read_row(row: Mapping[str, Any], model: type[M], using: str) -> M:
    """Return an instance with these columns; the others are deferred."""
    fields = [f for f in model._meta.concrete_fields if f.attname in row]
    values = [_read(field, row[field.attname]) for field in fields]
    return model.from_db(using, [field.attname for field in fields], values)


def pk_from_json(model: type[Model], pk: Any) -> Any:
    """Return a primary key of the type that the database gives."""
    fields = model._meta.pk_fields
    if len(fields) == 1:
        return fields[0].to_python(pk)
    pairs = zip(fields, pk, strict=True)
    return tuple(field.to_python(value) for field, value in pairs)


def _is_wanted(
    field: Field[Any, Any], model: type[Model], wanted: set[str] | None
) -> bool:
    if field in model._meta.pk_fields:
        return True
    if wanted is None:
        return field.name != SECRET
    return field.name in wanted or field.attname in wanted


def _write(field: Field[Any, Any], instance: Model) -> Any:
    value = field.value_from_object(instance)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return field.value_to_string(instance)


def _read(field: Any, value: Any) -> Any:
    if value is None:
        return None
    if field.generated:
        field = field.output_field
    return field.to_python(value)
