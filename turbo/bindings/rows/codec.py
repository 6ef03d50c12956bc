"""
Write rows as JSON, and make instances from it without a query.

The format is that of Django's JSON serializer, with all digits of a time and with the
queryset's annotations, but without many-to-many relations, which are not part of an
instance::

    {"model": "shop.product", "pk": 7, "fields": {"name": "Tea", "price": "2.50"}}

With a serializer of Django REST framework, a row is the output of the serializer.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

from django.db.models import Field, Model, QuerySet
from django.db.models.base import ModelState
from django.db.models.signals import post_init, pre_init

from turbo.changes.rows import IMMUTABLE, column_plain, column_value, dump, plain

__all__ = ["RowFormat", "check_storable"]


def check_storable(value: Any) -> None:
    """
    Raise :exc:`ValueError` for a value that no database accepts.

    These are numbers of more than 64 bits, and texts with NUL or a lone surrogate.
    """
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("A number has more than 64 bits.")
    if isinstance(value, str) and ("\0" in value or not _is_unicode(value)):
        raise ValueError(f"{value!a:.50} is not a valid text.")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class RowFormat:
    """Write and read the instances of one queryset."""

    def __init__(self, queryset: QuerySet[Any]) -> None:
        model: type[Model] = queryset.model
        self._model = model
        self._db = queryset.db
        self._columns: list[Field[Any, Any]] = list(model._meta.concrete_fields)
        self._pks: list[Field[Any, Any]] = list(model._meta.pk_fields)
        self._annotations = {
            name: getattr(annotation, "output_field", None)
            for name, annotation in queryset.query.annotation_select.items()
        }

    def write(self, instance: Model) -> str:
        """Return an instance as JSON."""
        held = vars(instance)
        fields = {
            field.name: column_plain(field, instance)
            for field in self._columns
            if field.attname in held and field not in self._pks
        }
        for name in self._annotations:
            fields[name] = plain(getattr(instance, name))
        label = self._model._meta.label_lower
        return dump({"model": label, "pk": plain(instance.pk), "fields": fields})

    def read(self, text: str) -> Callable[[], Model]:
        """Return a function that makes a new instance from JSON at each call."""
        names, values, extra = self._parse(json.loads(text))
        model, db = self._model, self._db

        def make() -> Model:
            mine, more = copy.deepcopy((values, extra))
            instance = model.from_db(db, names, mine)
            vars(instance).update(more)
            return instance

        return _copies_of(make()) or make

    def _parse(
        self, row: Mapping[str, Any]
    ) -> tuple[list[str], list[Any], dict[str, Any]]:
        """Return the columns in the row, their values, and the annotations."""
        held = row["fields"]
        keys = [row["pk"]] if len(self._pks) == 1 else row["pk"]
        given = {**held, **{f.name: k for f, k in zip(self._pks, keys, strict=True)}}
        # Columns that the row does not contain stay deferred.
        columns = [(f, given[f.name]) for f in self._columns if f.name in given]
        extra = {
            name: column_value(field, held[name])
            for name, field in self._annotations.items()
        }
        names = [field.attname for field, _ in columns]
        return names, [column_value(field, value) for field, value in columns], extra


def _copies_of(pattern: Model) -> Callable[[], Model] | None:
    """
    Return a function that copies ``pattern``, which is much faster than Django's way.

    Return ``None`` if it is not enough to set the attributes of a copy: if the model or
    a receiver runs code for new instances, or if the copies would share a value that
    can be changed.
    """
    model = type(pattern)
    held = {name: value for name, value in vars(pattern).items() if name != "_state"}
    makes_more = (
        model.__init__ is not Model.__init__
        or model.from_db.__func__ is not Model.from_db.__func__  # type: ignore[attr-defined]
        or any(signal.has_listeners(model) for signal in (pre_init, post_init))
    )
    if makes_more or not all(type(value) in IMMUTABLE for value in held.values()):
        return None
    db = pattern._state.db

    def make() -> Model:
        instance = model.__new__(model)
        state = instance._state = ModelState()
        state.adding = False
        state.db = db
        vars(instance).update(held)
        return instance

    return make
