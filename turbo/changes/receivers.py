"""The receivers of a watched model's own signals."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from django.db.models import Model

from turbo.changes.change import has_pk, image
from turbo.changes.guarded import guarded
from turbo.changes.kept import keep, take
from turbo.changes.recording import (
    Before,
    is_heard,
    look_back,
    names_in,
    needs_row,
    record,
    stored_row,
)
from turbo.changes.watchlist import Target, watchlist

__all__ = [
    "FROM_FIXTURE",
    "before_delete",
    "before_save",
    "looks_before_save",
    "on_delete",
    "on_save",
]

#: Kept with an instance from a fixture, because its relations are from there as well.
FROM_FIXTURE = "raw"

_STORED = "stored"


def looks_before_save(sender: type[Model], target: Target) -> bool:
    """
    Return whether a save of ``sender`` may have to read the stored row of ``target``.

    It has to if a watch needs the row. It also has to if a row of a child table may be
    added to an existing row of its parent table, which does not create the parent.
    """
    return target.looks_back or not target.is_of(sender)


@guarded
def before_save(
    sender: type[Model],
    instance: Model,
    using: str,
    update_fields: Collection[str] | None = None,
    raw: bool = False,
    **kwargs: Any,
) -> None:
    """Keep the results of the watches' ``before()`` for the rows that exist."""
    stored: dict[type[Model], Before] = {}
    for target in watchlist.targets(sender):
        adds_child = instance._state.adding and not target.is_of(sender)
        if not (adds_child or needs_row(target, instance, update_fields)):
            continue
        if not is_heard(target, raw=raw):
            continue
        row = stored_row(instance, target, using)
        if row is not None:
            stored[target.model] = look_back(target, row)
    keep(using, instance, _STORED, stored)


@guarded
def on_save(
    sender: type[Model],
    instance: Model,
    created: bool,
    using: str,
    update_fields: Collection[str] | None = None,
    raw: bool = False,
    **kwargs: Any,
) -> None:
    """Record the saved row and the rows of parent tables saved with it."""
    if not has_pk(instance, sender):
        return  # another receiver has deleted it
    targets = watchlist.targets(sender)
    stored: Mapping[type[Model], Before] = {}
    if any(looks_before_save(sender, target) for target in targets):
        stored = take(using, instance, _STORED) or {}
    if raw:
        keep(using, instance, FROM_FIXTURE, True)
    else:
        take(using, instance, FROM_FIXTURE)
    for target in targets:
        names = names_in(target.model, update_fields)
        if raw and not target.is_of(sender):
            continue  # a fixture has an entry for each table
        if names is not None and not names:
            continue
        record(
            target,
            instance=instance,
            action="create" if created and target.model not in stored else "update",
            using=using,
            update_fields=names,
            before=stored.get(target.model),
            raw=raw,
        )


@guarded
def before_delete(
    sender: type[Model], instance: Model, using: str, origin: Any = None, **kwargs: Any
) -> None:
    """Keep the results of the watches' ``before()`` while the row exists."""
    for target in watchlist.own(sender):
        if not needs_row(target, instance):
            continue
        is_fetched = _is_fetched(instance, target.model, origin)
        if is_fetched and target.has_read(instance):
            continue
        row: Model | None = None
        if not is_heard(target):
            pass
        elif is_fetched:
            row = image(instance, target.model, stored=False)
        else:
            row = stored_row(instance, target, using)
        stored = {} if row is None else {target.model: look_back(target, row)}
        keep(using, instance, _STORED, stored)


def _is_fetched(instance: Model, model: type[Model], origin: Any) -> bool:
    """Return whether Django has read the row to delete it, all of its columns."""
    is_given = origin is None or (
        isinstance(origin, model) and origin.pk == instance.pk
    )
    return not is_given and not instance.get_deferred_fields()


@guarded
def on_delete(
    sender: type[Model], instance: Model, using: str, origin: Any = None, **kwargs: Any
) -> None:
    """Record a deleted row. Django sends a signal for each parent's row as well."""
    for target in watchlist.own(sender):
        looked_back = needs_row(target, instance)
        stored = take(using, instance, _STORED) if looked_back else None
        record(
            target,
            instance=instance,
            action="delete",
            using=using,
            before=stored.get(target.model) if stored else None,
            origin=origin,
        )
