"""
The schema of a binding: how its rows are written and ordered.

Rows that were written in one schema cannot be read in another. So the name of a schema
is made from everything that it depends on, and a changed model, serializer or queryset
uses another slot in the store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import EmptyResultSet, FullResultSet
from django.db.models import Field, Model, QuerySet
from django.utils import timezone, translation
from django.utils.module_loading import import_string

from turbo.bindings.rows.codec import RowFormat
from turbo.bindings.rows.ordering import Ordering
from turbo.bindings.store import Row
from turbo.changes.rows import pk_text, pk_value

__all__ = ["RowSchema", "describe_serializer"]


@dataclass(frozen=True, slots=True)
class RowSchema:
    """The format and order in which the rows of a class of bindings are stored."""

    name: str
    ordering: Ordering
    #: Whether the query has SQL; one that can never match a row has none.
    has_sql: bool
    _model: type[Model]
    _format: RowFormat
    _serializer_class: Any

    @classmethod
    def of(
        cls, queryset: QuerySet[Any], *, serializer_class: Any, further: Sequence[Any]
    ) -> RowSchema:
        """Return the schema of the rows of ``queryset``."""
        ordering = Ordering(queryset)
        sql = _sql(ordering.apply(queryset))
        rests_on = [
            queryset.model._meta.label,
            [_describe_field(field) for field in queryset.model._meta.concrete_fields],
            sql,
            describe_serializer(serializer_class),
            list(further),
        ]
        text = json.dumps(rests_on, default=str, sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:20]
        rows = RowFormat(queryset)
        return cls(name, ordering, bool(sql), queryset.model, rows, serializer_class)

    def row(self, instance: Model) -> Row:
        """Return the row to store for an instance."""
        value = self._value(instance)
        return Row(pk_text(instance.pk), self.ordering.key(instance), value)

    def read(self, text: str) -> Callable[[], Any]:
        """Return a function that makes an instance or data from a stored value."""
        if self._serializer_class is None:
            return self._format.read(text)
        return lambda: json.loads(text)

    def pk(self, text: str) -> Any:
        """Return a primary key from its stored text."""
        return pk_value(self._model, json.loads(text))

    def _value(self, instance: Model) -> str:
        if self._serializer_class is None:
            return self._format.write(instance)
        # The process that reads may use another language and time zone.
        with translation.override(settings.LANGUAGE_CODE), timezone.override(None):
            data = self._serializer_class(instance).data
            return json.dumps(
                data, cls=_encoder(), ensure_ascii=False, separators=(",", ":")
            )


def _encoder() -> type[json.JSONEncoder]:
    """Return the JSON encoder of Django REST framework; needs the extra ``rest``."""
    encoder: Any = import_string("rest_framework.utils.encoders.JSONEncoder")
    return encoder  # type: ignore[no-any-return]


def describe_serializer(serializer_class: Any) -> Any:
    """Describe a serializer of Django REST framework in values that JSON allows."""
    if serializer_class is None:
        return None
    return [_path(serializer_class), _describe_part(serializer_class())]


def _describe_part(part: Any) -> Any:
    described = [_path(type(part)), getattr(part, "source", None)]
    child = getattr(part, "child", None)
    fields = getattr(part, "fields", None)
    if child is not None:
        described.append(_describe_part(child))
    if isinstance(fields, Mapping):
        described += [[name, _describe_part(field)] for name, field in fields.items()]
    return described


def _describe_field(field: Field[Any, Any]) -> list[Any]:
    limits = ("max_length", "max_digits", "decimal_places", "null")
    said = [getattr(field, limit, None) for limit in limits]
    return [field.name, field.column, _path(type(field)), *said]


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _sql(queryset: QuerySet[Any]) -> str:
    """Return the SQL without its parameters, which may depend on the time."""
    try:
        return str(queryset.query.get_compiler(queryset.db).as_sql()[0])
    except (EmptyResultSet, FullResultSet):
        return ""
