"""
The order of a binding's rows.

Numbers, dates and the like sort in Python as they do in the database. If the order
depends on such fields only, a row gets a *key*, a text that sorts like the row, and a
change does not involve the other rows. In all other cases (text with its collations,
expressions, fields of other models) the rows are *listed*: their order is read from the
database whenever a row may have moved.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db import connections
from django.db.models import Field, Model, QuerySet

from turbo.bindings.store import ANY

__all__ = ["Ordering"]

_EPOCH = datetime.datetime(1970, 1, 1)
_MIDNIGHT = datetime.date(1970, 1, 1)
_MICROSECOND = datetime.timedelta(microseconds=1)

#: The most digits of a decimal that every database stores and compares exactly.
_EXACT_DIGITS = 15

# A key consists of hexadecimal digits of fixed width, enough for a UUID.
_WIDTH = 32
_HALF = 16 ** (_WIDTH - 1)  # added to numbers, so that none is negative
_END = 16**_WIDTH - 1


def _from_datetime(value: datetime.datetime) -> int:
    epoch = _EPOCH.replace(tzinfo=datetime.UTC) if value.tzinfo else _EPOCH
    return (value - epoch) // _MICROSECOND


def _from_time(value: datetime.time) -> int:
    return _from_datetime(datetime.datetime.combine(_MIDNIGHT, value))


def _from_float(value: float) -> int:
    # The bits of positive floats sort like integers, and those of negative backwards.
    [bits] = struct.unpack(">q", struct.pack(">d", value + 0.0))
    return int(bits if bits >= 0 else -(bits & 0x7FFF_FFFF_FFFF_FFFF))


#: Functions that turn a value into an integer, by the field's internal type.
_NUMBERS: dict[str, Callable[[Any], int]] = {
    **dict.fromkeys(
        [
            "AutoField",
            "BigAutoField",
            "BigIntegerField",
            "BooleanField",
            "IntegerField",
            "PositiveBigIntegerField",
            "PositiveIntegerField",
            "PositiveSmallIntegerField",
            "SmallAutoField",
            "SmallIntegerField",
        ],
        int,
    ),
    "DateField": lambda value: int(value.toordinal()),
    "DateTimeField": _from_datetime,
    "DurationField": lambda value: int(value // _MICROSECOND),
    "FloatField": _from_float,
    "TimeField": _from_time,
    "UUIDField": lambda value: int(value.int) - _HALF,
}


@dataclass(frozen=True, slots=True)
class _Column:
    """One field that rows are sorted by."""

    attname: str
    number: Callable[[Any], int] | None
    descending: bool
    nulls_largest: bool

    def key(self, instance: Model) -> str:
        value = getattr(instance, self.attname)
        if value is None:
            null, number = ("2" if self.nulls_largest else "0"), 0
        else:
            assert self.number is not None
            null, number = "1", self.number(value) + _HALF
        if self.descending:
            null, number = {"0": "2", "1": "1", "2": "0"}[null], _END - number
        return f"{null}{number:0{_WIDTH}x}"


class Ordering:
    """The order of the rows of one queryset."""

    def __init__(self, queryset: QuerySet[Any]) -> None:
        query = queryset.query
        terms: Any = query.order_by
        if not terms and query.default_ordering:
            terms = query.get_meta().ordering
        self._terms: Sequence[Any] = tuple(terms or ())
        #: Whether the queryset's order must not be changed, as it may select the rows.
        self._is_final = bool(
            query.is_sliced or query.combinator or query.extra_order_by
        )
        columns = self._columns(queryset)
        exotic = self._is_final or not query.standard_ordering or columns is None
        self._own: Sequence[_Column] | None = None if exotic else columns
        #: Whether only the database can determine the order.
        self.listed = self._own is None or not all(c.number for c in self._own)

    def apply(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return ``queryset`` in an order without ties."""
        if self._is_final:
            return queryset
        return queryset.order_by(*self._terms, "pk")

    def key(self, instance: Model) -> str:
        """Return a text to sort by or, if listed, one that changes if the row moves."""
        if self._own is None:
            return ANY
        if self.listed:
            return self.listed_key([getattr(instance, name) for name in self.columns])
        return "".join(column.key(instance) for column in self._own)

    @property
    def columns(self) -> list[str]:
        """Return the columns from which the key of a listed row is made."""
        return [column.attname for column in self._own or ()]

    def listed_key(self, values: Sequence[Any]) -> str:
        """Return the key of a listed row from the values of its columns."""
        return repr(list(values)) if values else ANY

    def _columns(self, queryset: QuerySet[Any]) -> list[_Column] | None:
        """Return the columns to sort by; ``None`` if some are not the model's own."""
        largest = connections[queryset.db].features.nulls_order_largest
        columns: list[_Column] = []
        for term in (*self._terms, "pk"):
            if not isinstance(term, str):
                return None
            name, descending = term.lstrip("+-"), term.startswith("-")
            if name in queryset.query.annotations:
                return None
            fields = _fields(queryset.model, name)
            if fields is None:
                return None
            columns += (
                _Column(field.attname, _number_of(field), descending, largest)
                for field in fields
            )
        return columns


def _fields(model: type[Model], name: str) -> Iterable[Field[Any, Any]] | None:
    if name == "pk":
        return model._meta.pk_fields
    try:
        field = model._meta.get_field(name)
    except FieldDoesNotExist:
        return None
    # Ordering by a foreign key uses its model's ordering, unless by its column's name.
    if not isinstance(field, Field) or not field.concrete:
        return None
    return None if field.is_relation and name != field.attname else [field]


def _number_of(field: Any) -> Callable[[Any], int] | None:
    while field.is_relation:
        field = field.target_field
    if field.get_internal_type() == "DecimalField":
        places, digits = field.decimal_places, field.max_digits
        if digits is None or digits > _EXACT_DIGITS:
            return None
        return lambda value: int(value.scaleb(places))
    return _NUMBERS.get(field.get_internal_type())
