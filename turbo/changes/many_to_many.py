"""
Changes of a model's many-to-many fields, which count as updates of its instances.

A field belongs to the model that declares it. After a change from the other side, all
instances that gained or lost a relation count as updated. The same holds when an object
of the other side is deleted; Django sends no ``m2m_changed`` then (its ticket 17688).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias

from django.db.models import ManyToManyField, Model, QuerySet

from turbo.changes.guarded import guarded
from turbo.changes.kept import keep, peek, take
from turbo.changes.receivers import FROM_FIXTURE
from turbo.changes.recording import (
    Before,
    is_heard,
    look_back,
    needs_row,
    record,
    stored_row,
)
from turbo.changes.watchlist import Target, concrete_classes, watchlist

__all__ = ["many_to_many_fields", "on_far_delete", "on_relation", "targets_of"]

Field: TypeAlias = "ManyToManyField[Any, Any]"


class Affected(NamedTuple):
    """
    An instance that gains or loses a relation.

    ``row`` is ``None`` if it is the instance of the signal.
    """

    target: Target
    row: Model | None
    before: Before | None


def many_to_many_fields(model: type[Model]) -> list[Field]:
    """Return the fields of ``model``, inherited ones included."""
    fields: Iterable[Any] = model._meta.many_to_many
    return [field for field in fields if isinstance(field, ManyToManyField)]


def targets_of(field: Field) -> Iterator[Target]:
    """Yield the watched models that have or inherit ``field``."""
    for model in concrete_classes(field.model):
        if not model._meta.proxy:
            yield from watchlist.own(model)


def on_relation(field: Field) -> Callable[..., None]:
    """Return the receiver of ``m2m_changed`` for one field."""
    what = f"{field.model._meta.label}.{field.name}"

    @guarded
    def receive(
        instance: Model,
        action: str,
        reverse: bool,
        model: type[Model],
        pk_set: Collection[Any] | None,
        using: str,
        raw: bool = False,
        **kwargs: Any,
    ) -> None:
        here, there = (model, instance) if reverse else (instance, model)
        if not (_is_a(here, field.model) and _is_a(there, field.related_model)):
            return  # another field uses the same table
        # Before Django 6.1, the signal does not say that relations are from a fixture.
        raw = raw or bool(peek(using, instance, FROM_FIXTURE))
        if action.startswith("pre_"):
            found = _affected(field, instance, reverse, pk_set, using=using, raw=raw)
            keep(using, instance, what, found)
        else:
            found = take(using, instance, what) or []
            _record(field, instance, found, using=using, raw=raw)

    return receive


def on_far_delete(field: Field) -> Callable[..., None]:
    """Return the receiver of ``pre_delete`` for the model that ``field`` points to."""

    @guarded
    def receive(instance: Model, using: str, **kwargs: Any) -> None:
        # Django opens a transaction for the delete, so the record waits for its end.
        lost = _affected(field, instance, True, None, using=using, raw=False)
        _record(field, instance, lost, using=using, raw=False)

    return receive


def _is_a(given: Model | type[Model], model: type[Model]) -> bool:
    """Return whether an instance or class belongs to ``model``, ignoring proxies."""
    cls = given if isinstance(given, type) else type(given)
    return issubclass(cls, model._meta.concrete_model or model)


def _affected(
    field: Field,
    instance: Model,
    reverse: bool,
    pk_set: Collection[Any] | None,
    *,
    using: str,
    raw: bool,
) -> list[Affected]:
    """Return the instances that are about to gain or lose a relation."""
    found: list[Affected] = []
    if pk_set is not None and not pk_set:
        return found
    for target in targets_of(field):
        if not is_heard(target, raw=raw):
            continue
        if not reverse and isinstance(instance, target.model):
            looks = needs_row(target, instance, ())
            stored = stored_row(instance, target, using) if looks else None
            before = look_back(target, stored) if stored is not None else None
            found.append(Affected(target, None, before))
        if reverse or field.remote_field.symmetrical:
            others = _others(field, target, instance, pk_set, using=using)
            found += (Affected(target, row, look_back(target, row)) for row in others)
    return found


def _others(
    field: Field,
    target: Target,
    instance: Model,
    pk_set: Collection[Any] | None,
    *,
    using: str,
) -> QuerySet[Model]:
    """Return the rows with these keys, or all rows related to ``instance``."""
    rows = target.model._base_manager.using(using)
    if pk_set is None:
        return rows.filter(**{field.name: instance})
    return rows.filter(**{f"{field.m2m_target_field_name()}__in": pk_set})


def _record(
    field: Field,
    instance: Model,
    affected: list[Affected],
    *,
    using: str,
    raw: bool,
) -> None:
    for target, row, before in affected:
        record(
            target,
            instance=instance if row is None else row,
            action="update",
            using=using,
            update_fields=[field.name],
            before=before,
            raw=raw,
        )
