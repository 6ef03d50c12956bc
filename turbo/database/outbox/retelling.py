"""The telling of stored changes and messages, to the watchers of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeAlias

from django.db.models import Model

from turbo.changes import ModelChange, Watch
from turbo.changes.recording import ask, look_back
from turbo.changes.watchlist import Target, watchlist
from turbo.database.outbox.content import (
    Item,
    Stored,
    StoredChange,
    StoredMany,
    StoredMessage,
    StoredTransaction,
)
from turbo.delivery.broadcast import send_stored
from turbo.delivery.losses import tell_of_loss
from turbo.runtime import tracing
from turbo.runtime.context import report_scope
from turbo.runtime.namespaces import entered

__all__ = ["tell_all"]

#: Rows that are read with one query.
PORTION = 500

#: What a watch may raise; the thread that tells goes on.
RAISED = (Exception, asyncio.CancelledError, SystemExit)

Marks: TypeAlias = Mapping[Watch, Any]
#: A namespace, and a model whose rows are read there.
Place: TypeAlias = tuple[str, Target]


def tell_all(
    content: StoredTransaction, *, retried: bool
) -> tuple[list[Item], BaseException | None]:
    """
    Call the watchers of all changes in an entry, and send its messages.

    A watcher gets the row as it is now, and nothing if it is gone: its delete is
    another change. Return the items of which something failed, with the first
    exception.
    """
    failed: list[Item] = []
    first: BaseException | None = None
    items = iter(content.items)
    if tracing.tracer is not None:
        tracing.tracer.committed()  # the time of the commit is not known
    with report_scope():
        while portion := list(islice(items, PORTION)):
            for item, error in _tell_portion(portion, content, retried=retried):
                failed.append(item)
                first = first or error
    return failed, first


def _tell_portion(
    items: Sequence[Item], content: StoredTransaction, *, retried: bool
) -> Iterator[tuple[Item, BaseException]]:
    """Tell some items; yield those that failed."""
    read: list[tuple[Item, Stored]] = []
    for item in items:
        try:
            read.append((item, content.read(item)))
        except Exception as error:
            yield item, error
    teller = _Teller(content.using, retried)
    try:
        teller.read([stored for _, stored in read if isinstance(stored, StoredChange)])
    except Exception as error:  # perhaps a table is newer than the code
        yield from ((item, error) for item, _ in read)
        return
    for item, stored in read:
        try:
            teller.tell(stored)
        except RAISED as error:
            yield item, error


@dataclass(slots=True)
class _Teller:
    """The watchers' marks and the rows of some changes, which were read together."""

    using: str
    retried: bool
    _targets: dict[type[Model], Sequence[Target]] = field(default_factory=dict)
    _marks: dict[Place, Marks] = field(default_factory=dict)
    _rows: dict[Place, Mapping[Any, Model]] = field(default_factory=dict)

    def read(self, changes: Sequence[StoredChange]) -> None:
        """Read the rows that exist."""
        by_place: dict[Place, list[Any]] = {}
        for change in changes:
            for target in self._targets_of(change.model):
                pks = by_place.setdefault((change.namespace, target), [])
                if change.deleted is None:
                    pks.append(change.pk)
        for place, pks in by_place.items():
            namespace, target = place
            with entered(namespace):
                # They show the state that is read after this.
                self._marks[place] = {w: ask(w.mark) for w in target.watches}
                rows: Any = target.model._base_manager.using(self.using)
                self._rows[place] = rows.in_bulk(pks)

    def _targets_of(self, model: type[Model]) -> Sequence[Target]:
        # Watches may be added before the change is told.
        return self._targets.setdefault(model, watchlist.own(model))

    def tell(self, stored: Stored) -> None:
        """Tell one of them; raise the first exception when all have been called."""
        if isinstance(stored, StoredMessage):
            send_stored(stored.name, stored.message, stored.summary)
            return
        with entered(stored.namespace):
            if isinstance(stored, StoredMany):
                _tell_many(stored, self.using)
            else:
                self._tell_change(stored)

    def _tell_change(self, stored: StoredChange) -> None:
        for target in self._targets_of(stored.model):
            rows = self._rows[stored.namespace, target]
            row = stored.deleted or rows.get(stored.pk)
            if row is not None:
                self._tell_watches(stored, target, row)

    def _tell_watches(self, stored: StoredChange, target: Target, row: Model) -> None:
        failure: BaseException | None = None
        known = stored.row_before
        before = {} if known is None else look_back(target, known)
        for watch in target.watches:
            change = ModelChange(
                model=stored.model,
                instance=watch.form(row, stored.model, stored=stored.deleted is None),
                pk=stored.pk,
                action=stored.action,
                using=self.using,
                update_fields=stored.update_fields,
                mark=self._marks[stored.namespace, target][watch],
                before=before.get(watch),
                retried=self.retried,
            )
            try:
                watch.callback(change)
            except RAISED as error:
                failure = failure or error
        if failure is not None:
            raise failure


def _tell_many(stored: StoredMany, using: str) -> None:
    failure: BaseException | None = None
    tell_of_loss()
    for target in watchlist.own(stored.model):
        for watch in target.watches:
            try:
                if watch.many is not None:
                    watch.many(using)
            except RAISED as error:
                failure = failure or error
    if failure is not None:
        raise failure
