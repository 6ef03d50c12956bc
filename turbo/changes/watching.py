"""
The connection of receivers to the classes that send a watched model's signals.

Django compares senders by identity, so proxies and children with their own tables are
senders beside the model itself, including classes that are made later. No receiver is
connected without a sender, because Django could then not delete the rows of *any* model
without loading them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from django.db.models import Model
from django.db.models.fields.related import lazy_related_operation
from django.db.models.signals import (
    ModelSignal,
    class_prepared,
    m2m_changed,
    post_delete,
    post_save,
    pre_delete,
    pre_save,
)

from turbo.changes import cascades, durability, many_to_many, receivers
from turbo.changes.change import ModelChange
from turbo.changes.foreign_keys import cascading_keys
from turbo.changes.watchlist import Watch, concrete_classes, watchlist

__all__ = ["watch"]

_UID = "turbo.changes"


def watch(
    model: type[Model],
    callback: Callable[[ModelChange], object],
    *,
    mark: Callable[[], Any] | None = None,
    before: Callable[[Any], Any] | None = None,
    reads: Collection[str] | None = None,
    raw: bool | None = None,
    many: Callable[[str], object] | None = None,
) -> Watch:
    """
    Call ``callback`` with a :class:`ModelChange` after each commit of a change.

    There is one change per object and transaction: created and updated is *create*,
    created and deleted is no change, and anything else with a delete is *delete*.
    Changes come in the order of each object's first signal. If the callback raises an
    exception, it is logged.

    A proxy stands for the model that it proxies. When a child with a table of its own
    is saved, watchers of the parent get an instance of the parent. An abstract model
    stands for all models that inherit from it.

    ``mark()`` is called at each signal, in the writing thread; the change has the last
    value. ``before(instance)`` is called with the stored row before a write, which
    costs a query; the change has the value for the first row. If it depends on nothing
    but foreign keys, name them in ``reads``: only they are read then. A write that
    cannot change them costs no query, and its ``before`` is ``None``. Fixtures are
    announced if ``raw`` is true, or by default if ``ANNOUNCE_RAW`` is set.
    ``many(using)`` is called instead of the callback when a captured table of the
    database ``using`` has been emptied or has had too many changes to name each one.
    """
    watch = Watch(
        model=model,
        callback=callback,
        mark=mark,
        before=before,
        reads=reads,
        raw=raw,
        many=many,
        release=_release,
    )
    watchlist.add(watch)
    _connect_all(model)
    return watch


def _release(watch: Watch) -> None:
    watchlist.remove(watch)
    _connect_all(watch.model)


def _connect_all(model: type[Model]) -> None:
    for sender in concrete_classes(model._meta.concrete_model or model):
        _connect(sender)


def _connect(sender: type[Model], **kwargs: Any) -> None:
    """Connect the receivers that ``sender`` needs, and disconnect the others."""
    targets = watchlist.targets(sender)
    if targets:
        durability.prepare(sender)
    own = watchlist.own(sender)
    looks = partial(receivers.looks_before_save, sender)
    _wire(post_save, receivers.on_save, sender, wanted=bool(targets))
    _wire(pre_save, receivers.before_save, sender, wanted=any(map(looks, targets)))
    _wire(post_delete, receivers.on_delete, sender, wanted=bool(own))
    looks_back = any(target.looks_back for target in own)
    _wire(pre_delete, receivers.before_delete, sender, wanted=looks_back)
    _connect_parents(sender, set())
    for field in many_to_many.many_to_many_fields(sender):
        # The other model, or the intermediate one, may not exist yet.
        others: Any = field.remote_field.model, field.remote_field.through
        lazy_related_operation(partial(_connect_field, field), sender, *others)


def _connect_parents(model: type[Model], seen: set[type[Model]]) -> None:
    """Connect or disconnect the models whose deletes delete rows of ``model``."""
    if model in seen:
        return
    seen.add(model)
    needed = cascades.needed()
    for field in cascading_keys(model):
        connect = partial(_connect_parent, field, field in needed, seen)
        lazy_related_operation(connect, model, field.remote_field.model)


def _connect_parent(
    field: Any,
    wanted: bool,
    seen: set[type[Model]],
    model: type[Model],
    parent: type[Model],
) -> None:
    # These rows are never deleted without being loaded, so a receiver costs no query.
    uid = f"{field.model._meta.label}.{field.name}:parent"
    for other in concrete_classes(parent._meta.concrete_model or parent):
        if other._meta.concrete_model is parent._meta.concrete_model:
            receiver = cascades.on_parent_delete(field)
            _wire(pre_delete, receiver, other, wanted=wanted, uid=uid)
    _connect_parents(parent, seen)


def _connect_field(
    field: many_to_many.Field,
    sender: type[Model],
    far: type[Model],
    through: type[Model],
) -> None:
    wanted = any(many_to_many.targets_of(field))
    uid = f"{field.model._meta.label}.{field.name}"
    _wire(m2m_changed, many_to_many.on_relation(field), through, wanted=wanted, uid=uid)
    for other in concrete_classes(far._meta.concrete_model or far):
        if other._meta.concrete_model is far._meta.concrete_model:
            receiver = many_to_many.on_far_delete(field)
            _wire(pre_delete, receiver, other, wanted=wanted, uid=uid)


def _wire(
    signal: ModelSignal,
    receiver: Callable[..., None],
    sender: type[Model],
    *,
    wanted: bool,
    uid: str = "",
) -> None:
    dispatch_uid = f"{_UID}:{uid}"
    if wanted:
        signal.connect(receiver, sender=sender, weak=False, dispatch_uid=dispatch_uid)
    else:
        signal.disconnect(sender=sender, dispatch_uid=dispatch_uid)


def _on_class_prepared(sender: type[Model], **kwargs: Any) -> None:
    """Connect a class that is made after a watch that covers it."""
    if watchlist.targets(sender) and not sender._meta.swapped:
        _connect(sender)
    if sender._meta.proxy:
        for watch in watchlist:  # the proxy may be the other side of a relation
            _connect_all(watch.model)


class_prepared.connect(_on_class_prepared, dispatch_uid=_UID)
