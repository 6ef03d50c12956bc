"""The ``data`` for clients if a model declares only names of attributes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import FileField, Manager, Model, QuerySet

__all__ = ["values_of"]


def values_of(instance: Model, names: Iterable[str]) -> dict[str, Any]:
    """
    Return attributes of an instance by name: ``{"pk": 1, "name": "Gouda"}``.

    The value of a related object is its key, that of several is a list of keys, and
    that of a file is its URL. Methods are called.
    """
    return {name: _value(instance, name) for name in names}


def _value(instance: Model, name: str) -> Any:
    try:
        field = instance._meta.get_field(name)
    except FieldDoesNotExist:
        return _plain(getattr(instance, name))
    if field.many_to_one or (field.one_to_one and field.concrete):
        return getattr(instance, field.attname)  # type: ignore[union-attr]
    value = getattr(instance, name)
    if isinstance(field, FileField):
        return value.url if value else None
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Model):
        return value.pk
    if isinstance(value, (Manager, QuerySet)):
        return list(value.values_list("pk", flat=True))
    return value() if callable(value) else value
