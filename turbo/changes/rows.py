"""
Conversion of primary keys and columns to JSON and back.

Each value gets a form that JSON can hold and that the field's ``to_python()``
understands. Times keep all their digits.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import uuid
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import BinaryField, Field, JSONField, Model
from django.utils.duration import duration_string

__all__ = [
    "IMMUTABLE",
    "SECRET",
    "column_plain",
    "column_value",
    "dump",
    "pk_from_name",
    "pk_text",
    "pk_to_name",
    "pk_value",
    "plain",
    "read_row",
    "write_row",
]

M = TypeVar("M", bound=Model)

#: Types whose values need no copy; nearly all values of columns have one of them.
IMMUTABLE = frozenset(
    {
        bool,
        bytes,
        datetime.date,
        datetime.datetime,
        datetime.time,
        datetime.timedelta,
        decimal.Decimal,
        float,
        int,
        memoryview,
        str,
        type(None),
        uuid.UUID,
    }
)

#: Not a part of rows unless it is asked for, because clients must not see it.
SECRET = "password"


def dump(value: Any) -> str:
    """Return compact JSON with unescaped Unicode characters."""
    return json.dumps(
        value, cls=DjangoJSONEncoder, ensure_ascii=False, separators=(",", ":")
    )


def plain(value: Any) -> Any:
    """Return a value that JSON can hold and a field's ``to_python()`` understands."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case datetime.date() | datetime.time():
            return value.isoformat()
        case datetime.timedelta():
            return duration_string(value)
        case bytes() | memoryview():
            return b64encode(value).decode()
        case tuple() | list():
            return [plain(item) for item in value]
        case dict():
            return {name: plain(item) for name, item in value.items()}
        case _:
            return str(value)


# --- Primary keys


def pk_text(pk: Any) -> str:
    """
    Return a primary key as JSON.

    >>> pk_text(7), pk_text((1, "b"))
    ('7', '[1,"b"]')
    """
    return dump(plain(pk))


def pk_value(model: type[Model], given: Any) -> Any:
    """Return a primary key from JSON, with the type of the database."""
    fields = model._meta.pk_fields
    if len(fields) == 1:
        return _key_part(fields[0], given)
    if not isinstance(given, (list, tuple)):
        raise TypeError(f"A key of {model._meta.label} is a list, not {given!r}.")
    pairs = zip(fields, given, strict=True)
    return tuple(_key_part(field, value) for field, value in pairs)


def _key_part(field: Any, given: Any) -> Any:
    if isinstance(field, BinaryField) and isinstance(given, str):
        return b64decode(given, validate=True)
    return field.to_python(given)


def pk_to_name(pk: Any) -> str:
    """
    Return a primary key as a part of a stream's name.

    >>> pk_to_name(7), pk_to_name("b"), pk_to_name((1, "b"))
    ('7', 'b', '[1,"b"]')
    """
    if isinstance(pk, tuple):
        return json.dumps(plain(pk), separators=(",", ":"))
    return str(plain(pk) if isinstance(pk, (bytes, memoryview)) else pk)


def pk_from_name(model: type[Model], text: str) -> Any:
    """Return the primary key that :func:`pk_to_name` wrote."""
    is_one = len(model._meta.pk_fields) == 1
    return pk_value(model, text if is_one else json.loads(text))


# --- Columns


def write_row(
    instance: Model, model: type[Model], names: Iterable[str] | None = None
) -> dict[str, Any]:
    """
    Return the columns of ``instance`` by attribute, with values for JSON.

    Deferred fields are left out. ``names`` selects fields; the key is always there.
    """
    wanted = None if names is None else set(names)
    return {
        field.attname: column_plain(field, instance)
        for field in model._meta.concrete_fields
        if field.attname in vars(instance) and _is_wanted(field, model, wanted)
    }


def read_row(row: Mapping[str, Any], model: type[M], using: str) -> M:
    """Return an instance with these columns; the others are deferred."""
    fields = [f for f in model._meta.concrete_fields if f.attname in row]
    values = [column_value(field, row[field.attname]) for field in fields]
    return model.from_db(using, [field.attname for field in fields], values)


def column_plain(field: Field[Any, Any], instance: Model) -> Any:
    """Return the value of an instance's column for JSON."""
    value = field.value_from_object(instance)
    if isinstance(field, JSONField):
        encoder = field.encoder or DjangoJSONEncoder
        return json.loads(json.dumps(value, cls=encoder))
    if type(value) in IMMUTABLE:
        return plain(value)
    return field.value_to_string(instance)


def column_value(field: Any, given: Any) -> Any:
    """Return a value from JSON, with the type of the database."""
    if given is None or field is None:
        return given
    if isinstance(field, JSONField):
        if field.decoder is None:
            return given
        return json.loads(json.dumps(given), cls=field.decoder)
    if isinstance(field, BinaryField):
        return b64decode(given)
    if getattr(field, "generated", False):
        field = field.output_field
    return field.to_python(given)


def _is_wanted(
    field: Field[Any, Any], model: type[Model], wanted: set[str] | None
) -> bool:
    if field in model._meta.pk_fields:
        return True
    if wanted is None:
        return field.name != SECRET
    return field.name in wanted or field.attname in wanted
