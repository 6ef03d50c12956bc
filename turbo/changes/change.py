"""The value that a watcher gets, and the copy of the instance in it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import django
from django.core.files import File
from django.db.models import Model
from django.db.models.base import ModelState

from turbo.changes.rows import IMMUTABLE
from turbo.typing import ChangeAction

__all__ = ["ModelChange", "has_pk", "image", "pk_of", "restore_keys"]

#: Before Django 6.0, an UPDATE does not return the values of generated fields.
_GENERATED_IS_STALE = django.VERSION < (6, 0)
#: The types of the attributes that need no copy; ``_state`` has been made.
_PLAIN = IMMUTABLE | {ModelState}


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelChange:
    """
    What happened to one object in one committed transaction.

    ``model`` is the class whose row changed, never a proxy. ``instance`` is a copy of
    the object as it was last saved; after a delete it still has its key, its columns
    and the related objects that were loaded. ``update_fields`` has the names of the
    fields that may have changed, or is ``None`` if any of them may have.

    ``mark`` and ``before`` are what the functions with these names returned that were
    passed to :func:`~turbo.changes.watch`.

    ``retried`` says that the process that committed the change has ended, and another
    one reports it from the outbox, perhaps again. After a create or an update the
    instance is then the row as it is now.
    """

    model: type[Model]
    instance: Any
    pk: Any
    action: ChangeAction
    using: str
    update_fields: frozenset[str] | None = None
    mark: Any = None
    before: Any = None
    retried: bool = False

    @property
    def created(self) -> bool:
        """Whether the object did not exist before the transaction."""
        return self.action == "create"

    def fresh(self) -> Any:
        """
        Read the object from the database, in one query; ``None`` if it is gone.

        Use it to get the values as the database has them: a date that was assigned as a
        string, or what a trigger or another transaction has changed since.
        """
        manager = type(self.instance)._base_manager
        return manager.using(self.using).filter(pk=self.pk).first()


def has_pk(instance: Model, model: type[Model]) -> bool:
    """Return whether every part of the primary key of ``model`` has a value."""
    fields = model._meta.pk_fields
    return None not in [getattr(instance, field.attname) for field in fields]


def pk_of(instance: Model, model: type[Model]) -> Any:
    """
    Return the primary key of the row of ``model``, with the type of the database.

    An instance made with ``pk="5"`` keeps the string, but it is the same row as 5.
    """
    values = [
        field.to_python(getattr(instance, field.attname))
        for field in model._meta.pk_fields
    ]
    return tuple(values) if len(values) > 1 else values[0]


def image(instance: Model, model: type[Model], *, stored: bool = True) -> Model:
    """
    Return a copy of ``instance`` as it is now, as an instance of ``model``.

    The caller's own object may change later: it may get values that are never saved,
    keep those of a savepoint that was rolled back, or lose its key in a delete.

    An instance of a child model with its own table becomes the row of its parent; a
    proxy stays a proxy. If the row is still ``stored``, attributes that hold an
    expression (``F()``) are deferred.
    """
    given = type(instance)
    if given._meta.concrete_model is model._meta.concrete_model:
        chosen = given if issubclass(given, model) else model
        values = dict(vars(instance))
        related = dict(_related(instance))
    else:
        chosen = model
        names = {field.name for field in model._meta.fields}
        attnames = {field.attname for field in model._meta.concrete_fields}
        values = {k: v for k, v in vars(instance).items() if k in attnames}
        related = {k: v for k, v in _related(instance).items() if k in names}
    values["_state"] = _state(instance, related)
    if stored:
        values.pop("_prefetched_objects_cache", None)
    _detach(values, chosen, stored=stored)
    twin: Model = object.__new__(chosen)  # __init__ would send post_init
    twin.__dict__ = values
    return twin


def restore_keys(twin: Model) -> None:
    """Replace related objects that lost their key in a delete by copies with it."""
    related = _related(twin)
    field: Any
    for field in twin._meta.concrete_fields if related else ():
        row = related.get(field.name)
        key = vars(twin).get(field.attname)
        if not isinstance(row, Model) or key is None:
            continue
        name = field.target_field.attname
        if getattr(row, name) is None:
            related[field.name] = copied = image(row, type(row), stored=False)
            setattr(copied, name, key)


def _detach(values: dict[str, Any], model: type[Model], *, stored: bool) -> None:
    """Copy mutable values, and drop those that only the database knows."""
    fields = model._meta.concrete_fields
    if stored and _GENERATED_IS_STALE:
        for field in fields:
            if field.generated:
                values.pop(field.attname, None)
    if _PLAIN.issuperset(map(type, values.values())):
        return  # as nearly always
    for field in fields:
        name = field.attname
        value = values.get(name)
        if type(value) in IMMUTABLE:
            continue
        if stored and hasattr(value, "resolve_expression"):
            del values[name]
        elif isinstance(value, File):
            values[name] = value.name
        elif isinstance(value, (dict, list, set, bytearray)):
            values[name] = copy.deepcopy(value)


def _state(instance: Model, related: dict[str, Any]) -> ModelState:
    state, given = ModelState(), instance._state
    state.db, state.adding = given.db, given.adding
    if related:
        state.fields_cache = related
    return state


def _related(instance: Model) -> dict[str, Any]:
    """Return the related objects; Django's attribute makes a dict for each instance."""
    related: dict[str, Any] = vars(instance._state).get("fields_cache", {})
    return related
