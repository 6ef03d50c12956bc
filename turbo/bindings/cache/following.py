"""
Bring bindings up to date after each commit, in the process that wrote.

A changed row is read again through the real queryset, which decides whether the row is
in it and what its value is. So every kind of filter works, and of two writers the one
that reads last wins.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import connections

from turbo.bindings.cache.background import do_later, do_now
from turbo.bindings.cache.declaration import Declaration
from turbo.bindings.cache.notify import tell
from turbo.bindings.cache.outage import Unreachable, invalidate, owe, with_store
from turbo.bindings.cache.reading import refresh, reorder
from turbo.bindings.store import Read, Slot, Store, Ticket
from turbo.changes import ModelChange, watch
from turbo.changes.rows import pk_text
from turbo.changes.transaction import in_transaction
from turbo.runtime.namespaces import current

__all__ = ["follow", "unfollow"]

logger = logging.getLogger("turbo.bindings")

#: Changes of one transaction after which all rows are read at once.
BURST = 50


class _Done(threading.local):
    """
    What this thread has read lately, and when it began to read.

    A change that was handed over before that had been committed before the reading. So
    had a change of this thread whose signal is older: all hooks of one transaction run
    after its commit, one by one.
    """

    def __init__(self) -> None:
        self.all: dict[Slot, float] = {}
        self.rows: dict[tuple[Slot, str], float] = {}
        self.bursts: dict[Slot, tuple[float, int]] = {}

    def trim(self) -> None:
        kept: Iterable[dict[Any, Any]] = (self.all, self.rows, self.bursts)
        for some in kept:
            if len(some) > 1_000:
                some.clear()


_done = _Done()


@dataclass(frozen=True, slots=True)
class _Row:
    """A row that has changed."""

    pk: Any
    using: str
    #: The thread that has changed it, or ``None`` if the change was handed over.
    thread: int | None
    #: When its signal was sent, or when the change was handed over.
    time: float


class _Follower:
    """Update all bindings that depend on one model when the model changes."""

    def __init__(self, model: Any) -> None:
        #: The classes, with whether it is enough to read the row that changed.
        self.classes: dict[type[Declaration], bool] = {}
        self._watch = watch(model, self._tell, mark=_mark, many=self._tell_many)

    def stop(self) -> None:
        self._watch.stop()

    def _tell(self, change: ModelChange) -> None:
        # Hooks run in an open transaction only in a test that never commits.
        if in_transaction(connections[change.using]):
            return
        classes = dict(self.classes)
        if do_now(change.using):
            _follow(classes, _Row(change.pk, change.using, *change.mark))
            return
        row = _Row(change.pk, change.using, None, time.monotonic())
        do_later(
            (self, current(), change.pk, change.using),
            [cls.group() for cls in classes],
            partial(_follow, classes, row),
        )

    def _tell_many(self, using: str) -> None:
        """Let all bindings of the classes be filled anew."""
        for cls in dict(self.classes):
            try:
                with_store(partial(_invalidate_all, cls))
            except Unreachable as error:
                owe(cls.group(), error)


def _invalidate_all(cls: type[Declaration], store: Store) -> None:
    for name in store.names([cls.group()])[0]:
        invalidate(store, Slot(cls.group(), name))


_followers: dict[Any, _Follower] = {}


def follow(cls: type[Declaration]) -> None:
    """Watch the model of a class of bindings, and those that it depends on."""
    model = cls.model._meta.concrete_model
    own = [model, *(parent._meta.concrete_model for parent in model._meta.all_parents)]
    others = [other._meta.concrete_model for other in cls.depends_on]
    for watched in {*own, *others}:
        follower = _followers.get(watched)
        if follower is None:
            follower = _followers[watched] = _Follower(watched)
        is_row = watched not in others and _shares_key(model, watched)
        follower.classes[cls] = is_row


def unfollow(cls: type[Declaration]) -> None:
    """Stop watching models for a class of bindings."""
    for model, follower in list(_followers.items()):
        if follower.classes.pop(cls, None) is not None and not follower.classes:
            follower.stop()
            del _followers[model]


def _shares_key(model: Any, parent: Any) -> bool:
    """Return whether a row has the same primary key in both tables."""
    field = model._meta.pk
    while field.model is not parent and field.remote_field:
        field = field.target_field
    return model is parent or field.model is parent


def _mark() -> tuple[int, float]:
    return threading.get_ident(), time.monotonic()


def _follow(classes: dict[type[Declaration], bool], change: _Row) -> None:
    try:
        bound = _bound(classes, change)
        _follow_all([d for d in bound if not classes[type(d)]], change)
        _follow_row([d for d in bound if classes[type(d)]], change)
    except BaseException as error:  # code of the project may end the thread
        for cls in classes:
            owe(cls.group(), error)
        if not isinstance(error, Unreachable):
            raise  # the caller logs it


def _bound(classes: Iterable[type[Declaration]], change: _Row) -> list[Declaration]:
    """Return the bindings in the store that a change may affect."""
    groups = {cls.group(): cls for cls in classes}
    found = with_store(lambda store: store.names(list(groups)))
    bound = []
    for cls, names in zip(groups.values(), found, strict=True):
        for name in names:
            declaration = cls.from_slot_name(name)
            if declaration is None:
                with_store(partial(invalidate, slot=Slot(cls.group(), name)))
            elif declaration.database == change.using:
                bound.append(declaration)
    return bound


def _follow_all(bound: Sequence[Declaration], change: _Row) -> None:
    for declaration in bound:
        slot = declaration.slot
        if not _is_done(change, _done.all.get(slot)):
            _done.all[slot] = time.monotonic()
            refresh(declaration)
    _done.trim()


def _follow_row(bound: Sequence[Declaration], change: _Row) -> None:
    pk = pk_text(change.pk)
    due = [
        declaration
        for declaration in bound
        if not _is_done(change, _done.all.get(declaration.slot))
        and not _is_done(change, _done.rows.get((declaration.slot, pk)))
    ]
    bursting = [item for item in due if _is_burst(item.slot, change)]
    _follow_all(bursting, change)
    rest = [declaration for declaration in due if declaration not in bursting]
    if not rest:
        return
    for declaration in rest:
        _done.rows[declaration.slot, pk] = time.monotonic()
    slots = [declaration.slot for declaration in rest]
    tickets = with_store(lambda store: store.take(slots, pk))
    writes = []
    for declaration, ticket in zip(rest, tickets, strict=True):
        read = _read(declaration, change, ticket) if ticket else None
        if ticket is not None and read is not None:
            writes.append((declaration.slot, ticket, read))
    _write(rest, writes)


def _read(declaration: Declaration, change: _Row, ticket: Ticket) -> Read | None:
    """Read the row, or log the error so that other bindings are still updated."""
    try:
        row, order = declaration.load_row(change.pk), None
        may_move = row is not None and row.may_have_moved(ticket.key)
        if declaration.slot.listed and may_move:
            order = declaration.load_order()
    except Exception as error:
        logger.exception("%r cannot follow a change of %r.", declaration, change.pk)
        owe(declaration.group(), error)
        return None
    return Read(pk_text(change.pk), row, order)


def _write(
    bound: Sequence[Declaration], writes: Sequence[tuple[Slot, Ticket, Read]]
) -> None:
    if not writes:
        return
    by_slot = {declaration.slot: declaration for declaration in bound}
    results = with_store(lambda store: store.apply(writes))
    for (slot, _, _), applied in zip(writes, results, strict=True):
        tell(slot, applied)
        reorder(by_slot[slot], applied)


def _is_done(change: _Row, begun: float | None) -> bool:
    mine = change.thread in (None, threading.get_ident())
    return begun is not None and mine and change.time < begun


def _is_burst(slot: Slot, change: _Row) -> bool:
    """Return whether so many changes were committed together that all rows are read."""
    begun, count = _done.bursts.get(slot, (0.0, 0))
    if not _is_done(change, begun):
        begun, count = time.monotonic(), 0
    _done.bursts[slot] = begun, count + 1
    return count >= BURST
