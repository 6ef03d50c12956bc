"""The attributes that a binding declares, and the queryset made from them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self
from weakref import WeakKeyDictionary

from django.db import router
from django.db.models import Model, Q, QuerySet

from turbo.bindings.rows.schema import RowSchema
from turbo.bindings.store import Listed, Row, Slot
from turbo.changes.rows import pk_text
from turbo.runtime.namespaces import in_namespace

__all__ = ["Declaration"]

# Made once for each class, as its querysets differ only in their parameters.
_schemas: WeakKeyDictionary[type, RowSchema] = WeakKeyDictionary()


class Declaration:
    """The part of a binding that a project declares."""

    #: ``"<app label>:<class>"``.
    label: ClassVar[str]
    #: The model whose rows are bound. A class without one is a base for others.
    model: ClassVar[Any] = None
    #: Lookups that rows must meet; may be a method.
    filters: Any = None
    #: Lookups that rows must not meet; may be a method.
    excludes: Any = None
    #: A serializer of Django REST framework that makes the values. Without one, the
    #: values are instances.
    serializer_class: Any = None
    #: Other models whose changes may change this queryset. If the binding's own model
    #: is among them, its rows depend on each other.
    depends_on: ClassVar[Sequence[type[Model]]] = ()
    #: Names of the arguments; each set of values is a binding of its own.
    params: ClassVar[Sequence[str]] = ()
    #: Alias of the database; by default that to which the model is written.
    using: ClassVar[str | None] = None
    #: Increase this when a method returns other rows or values than before.
    revision: ClassVar[int] = 0
    #: So that pytest takes no class named ``Test…`` for a test.
    __test__: ClassVar[bool] = False

    def __init__(self, **params: Any) -> None:
        if set(params) != set(self.params):
            expected = ", ".join(self.params) or "no arguments"
            given = ", ".join(sorted(params)) or "none"
            raise TypeError(f"{type(self).__name__}() takes {expected}, not {given}.")
        for name, value in params.items():
            setattr(self, name, value)
        self._params = _encode(params) if params else ""

    @classmethod
    def from_slot_name(cls, name: str) -> Self | None:
        """
        Return the binding whose slot has this name.

        Return ``None`` if the slot has another schema, because a process that runs
        other code has filled it.
        """
        given = name.partition(" ")[2]
        params = json.loads(given) if given else {}
        if set(params) != set(cls.params):
            return None
        declaration = cls(**params)
        return declaration if declaration.slot.name == name else None

    @classmethod
    def group(cls) -> str:
        """Return the label as it is in the namespace of the moment."""
        return in_namespace(cls.label)

    def get_filters(self) -> Mapping[str, Any]:
        """Return the lookups that rows must meet."""
        return _resolve(self.filters)

    def get_excludes(self) -> Mapping[str, Any]:
        """Return the lookups that rows must not meet."""
        return _resolve(self.excludes)

    def get_q(self) -> Q | Iterable[Q]:
        """Return further conditions, in addition to the filters."""
        return ()

    def get_queryset(self) -> QuerySet[Any]:
        """Return the queryset that the cache follows."""
        q = self.get_q()
        conditions = [q] if isinstance(q, Q) else list(q)
        queryset: QuerySet[Any] = self.model._default_manager.filter(
            *conditions, **self.get_filters()
        )
        excludes = self.get_excludes()
        return queryset.exclude(**excludes) if excludes else queryset

    def database_queryset(self) -> QuerySet[Any]:
        """Return the queryset, on the database to which the model is written."""
        return self.get_queryset().using(self.database)

    @property
    def database(self) -> str:
        """Return the alias of the database, which is never a replica that may lag."""
        return self.using or router.db_for_write(self.model)

    @property
    def schema(self) -> RowSchema:
        """Return the schema in which rows are stored."""
        schema = _schemas.get(type(self))
        if schema is None:
            static = [f for f in (self.filters, self.excludes) if not callable(f)]
            schema = RowSchema.of(
                self.database_queryset(),
                serializer_class=self.serializer_class,
                further=[self.revision, *static],
            )
            if (
                schema.has_sql
            ):  # otherwise one argument that matches no rows would set it for all
                _schemas[type(self)] = schema
        return schema

    @property
    def slot(self) -> Slot:
        """Return the slot in which the rows are stored."""
        schema = self.schema
        name = f"{schema.name} {self._params}" if self._params else schema.name
        return Slot(self.group(), name, schema.ordering.listed)

    def ordered_queryset(self) -> QuerySet[Any]:
        """Return the queryset in an order without ties."""
        return self.schema.ordering.apply(self.database_queryset())

    def load(self) -> list[Row]:
        """Read all rows in order; a row that a join repeats is returned once."""
        rows: dict[str, Row] = {}
        for instance in self.ordered_queryset():
            row = self.schema.row(instance)
            rows.setdefault(row.pk, row)
        return list(rows.values())

    def load_row(self, pk: Any) -> Row | None:
        """Read one row, or return ``None`` if the queryset does not contain it."""
        instance = self.database_queryset().filter(pk=pk).first()
        return None if instance is None else self.schema.row(instance)

    def load_order(self) -> list[Listed]:
        """Read the primary keys and keys of all rows, in order."""
        columns = self.schema.ordering.columns
        listed: dict[str, str] = {}
        for pk, *values in self.ordered_queryset().values_list("pk", *columns):
            listed.setdefault(pk_text(pk), self.schema.ordering.listed_key(values))
        return list(listed.items())

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._params == self._params

    def __hash__(self) -> int:
        return hash((type(self), self._params))

    def __repr__(self) -> str:
        params = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.params)
        return f"<{type(self).__name__}({params})>"


def _encode(params: Mapping[str, Any]) -> str:
    for name, value in params.items():
        if not isinstance(value, (str, int, bool, type(None))):
            raise TypeError(
                f"The argument {name!r} of a binding is {value!r}; it must be a "
                f"string, a number or a boolean. Pass an object's primary key, not the "
                f"object."
            )
    return json.dumps(params, sort_keys=True, separators=(",", ":"))


def _resolve(lookups: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = lookups() if callable(lookups) else lookups
    return found or {}
