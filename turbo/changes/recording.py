"""The recording of a change: which watches receive it, and with which values."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any

from django.db import connections, transaction
from django.db.models import Model

from turbo.changes import durability
from turbo.changes.captured import Write, writes_of
from turbo.changes.cascades import keep_related
from turbo.changes.change import has_pk, image, pk_of
from turbo.changes.guarded import guarded
from turbo.changes.kept import keeps_any
from turbo.changes.records import Before, Record
from turbo.changes.transaction import enter, in_transaction
from turbo.changes.watchlist import Target
from turbo.runtime.context import suppressed
from turbo.runtime.namespaces import current
from turbo.typing import ChangeAction

__all__ = [
    "Before",
    "ask",
    "is_heard",
    "look_back",
    "names_in",
    "needs_row",
    "record",
    "stored_row",
]

logger = logging.getLogger(__name__)


def is_heard(target: Target, *, raw: bool = False) -> bool:
    """Return whether any watch receives a signal that is sent now."""
    if suppressed():
        return False
    return not raw or any(watch.hears(raw=True) for watch in target.watches)


@guarded
def record(
    target: Target,
    *,
    instance: Model,
    action: ChangeAction,
    using: str,
    update_fields: Iterable[str] | None = None,
    before: Before | None = None,
    raw: bool = False,
    origin: Any = None,
) -> None:
    """Report a change to the watches after the commit, unless it is suppressed."""
    names = None if update_fields is None else frozenset(update_fields)
    connection = connections[using]
    writes: tuple[Write, ...] = ()
    if connection.vendor == "postgresql":
        writes = writes_of(target.model, instance, names, raw=raw)
    if not is_heard(target, raw=raw):
        if writes and in_transaction(connection):
            enter(connection, _unheard(target, instance, action, using, writes))
        return
    pk = pk_of(instance, target.model)
    twin = image(instance, target.model, stored=action != "delete")
    twin._state.db = using
    if twin.pk is not pk:
        twin.pk = pk
    if origin is not None and target.cascades and keeps_any(connection):
        keep_related(twin, using, origin)
    is_read = target.looks_back and target.has_read(instance)
    if before is None and action == "delete" and is_read:
        before = look_back(target, twin)
    marks = target.no_marks
    if raw or marks is None:
        hear = [watch for watch in target.watches if watch.hears(raw=raw)]
        marks = {watch: ask(watch.mark) for watch in hear}
    enter(
        connection,
        Record(
            model=target.model,
            pk=pk,
            action=action,
            using=using,
            update_fields=names,
            instance=twin,
            marks=marks,
            before=before,
            writes=writes,
            namespace=current(),
        ),
    )


def _unheard(
    target: Target,
    instance: Model,
    action: ChangeAction,
    using: str,
    writes: tuple[Write, ...],
) -> Record:
    """Return the record of a change that is not told, though the database notes it."""
    return Record(
        model=target.model,
        pk=pk_of(instance, target.model),
        action=action,
        using=using,
        update_fields=None,
        instance=object.__new__(target.model),  # nobody looks at it
        marks={},
        before=None,
        writes=writes,
        namespace=current(),
    )


def needs_row(
    target: Target, instance: Model, written: Collection[str] | None = None
) -> bool:
    """
    Return whether a watch needs the row from before a write of some fields, or of all.

    What the instance has of it may be out of date, so it is needed if it may change.
    """
    if not target.looks_back:
        return False
    if target.reads is None or not target.has_read(instance):
        return True
    return bool(target.reads) if written is None else target.reads_any(written)


def stored_row(instance: Model, target: Target, using: str) -> Model | None:
    """Return the row that ``instance`` will change; no query if there can be none."""
    model = target.model
    if not has_pk(instance, model):
        return None
    fields = model._meta.pk_fields
    if instance._state.adding and all(
        field.has_default() or field.has_db_default() for field in fields
    ):
        return None  # save() inserts without an UPDATE
    rows = model._base_manager.using(using).filter(pk=pk_of(instance, model))
    if target.reads:
        rows = rows.select_related(None).only(*[field.name for field in target.reads])
    return rows.first()


def look_back(target: Target, row: Model) -> Before:
    """Return the results of the watches' ``before()`` for a stored row."""
    using = row._state.db
    # Under autocommit, a query that fails in there would have done no harm to the save.
    is_ours = using is not None and durability.is_ours(using)
    results = {
        watch: ask(_alone(watch.before, using) if is_ours else watch.before, form)
        for watch in target.watches
        if watch.before is not None
        for form in [watch.form(row, target.model, stored=False)]
    }
    return Before(row, results)


def _alone(function: Callable[..., Any], using: str | None) -> Callable[..., Any]:
    return transaction.atomic(using=using)(function)


def ask(function: Callable[..., Any] | None, *args: Any) -> Any:
    """Call a function of a watch; log its exceptions, and return ``None`` then."""
    if function is None:
        return None
    try:
        return function(*args)
    except Exception:
        logger.exception("%r of a watch failed; its value is None.", function)
        return None


def names_in(
    model: type[Model], update_fields: Collection[str] | None
) -> Collection[str] | None:
    """Return the ``update_fields`` that are columns of ``model``."""
    if update_fields is None:
        return None
    columns = model._meta.concrete_fields
    known = {field.name for field in columns} | {field.attname for field in columns}
    return known.intersection(update_fields)
