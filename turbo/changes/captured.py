"""
The captured models, whose changes the database itself notes.

It notes all changes, also those of which Django sends signals. So each transaction
counts what its signals have reported, and only the rest is told from these notes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, TypeAlias

from django.db.models import Model

from turbo.changes.change import pk_of
from turbo.changes.durability import durable
from turbo.changes.rows import pk_text
from turbo.changes.watchlist import concrete_classes, watchlist

__all__ = [
    "Write",
    "capture",
    "captured_models",
    "is_captured",
    "is_used",
    "tables_of",
    "when_captured",
    "writes_of",
]

#: The label of a table's model, and the key of a row as JSON.
Write: TypeAlias = tuple[str, str]

_captured: set[type[Model]] = set()
_known: dict[type[Model], bool] = {}
_callback: Callable[[type[Model]], object] | None = None


def capture(model: type[Model]) -> None:
    """
    Tell of changes of ``model`` for which Django sends no signals, on PostgreSQL.

    These are raw SQL, ``update()``, ``bulk_create()``, ``COPY``, cascades of the
    database, and what other programs write. Triggers note them, which the next
    migration of the model's app makes. So for a model of another package, pass a proxy
    that is in an app of your own.

    The model is :func:`durable`, too. An abstract model stands for all models that
    inherit from it, and a child for its parents with tables of their own as well.
    """
    durable(model)
    _captured.add(model)
    _known.clear()
    if _callback is not None:
        _callback(model)


def captured_models() -> list[type[Model]]:
    """Return the models that were declared to be captured."""
    return sorted(_captured, key=lambda model: model._meta.label)


def when_captured(callback: Callable[[type[Model]], object] | None) -> None:
    """Call ``callback`` with each model that is declared, now and from now on."""
    global _callback
    _callback = callback
    if callback is not None:
        for model in captured_models():
            callback(model)


def is_used() -> bool:
    """Return whether there are captured models."""
    return bool(_captured)


def tables_of(model: type[Model]) -> Iterator[type[Model]]:
    """Yield the models whose tables have the rows of a captured ``model``."""
    for cls in concrete_classes(model) if model._meta.abstract else [model]:
        if (concrete := cls._meta.concrete_model) is not None:
            yield from (concrete, *concrete._meta.all_parents)


def is_captured(model: type[Model]) -> bool:
    """Return whether the database notes the changes of a concrete ``model``."""
    if not _captured:
        return False
    if model not in _known:
        _known[model] = any(model in tables_of(captured) for captured in _captured)
    return _known[model]


def writes_of(
    model: type[Model],
    instance: Model,
    update_fields: Collection[str] | None,
    *,
    raw: bool,
) -> tuple[Write, ...]:
    """
    Return the rows of captured tables to which a signal says that it has written.

    A parent that is watched gets a record of its own, and one in a fixture is an entry
    of its own. A change of a relation writes to another table.
    """
    if not is_captured(model):
        return ()
    others = () if raw else model._meta.all_parents
    watched = {target.model for target in watchlist.targets(model)}
    tables = (model, *(parent for parent in others if parent not in watched))
    return tuple(
        (table._meta.label, pk_text(pk_of(instance, table)))
        for table in tables
        if update_fields is None or _has_any(table, update_fields)
    )


def _has_any(table: type[Model], names: Iterable[str]) -> bool:
    fields: Iterable[Any] = table._meta.local_concrete_fields
    known = {name for field in fields for name in (field.name, field.attname)}
    return not known.isdisjoint(names)
