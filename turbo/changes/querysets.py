"""A queryset that announces its bulk operations, for which Django sends no signals."""

from __future__ import annotations

import logging
import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from functools import reduce
from typing import Any, TypeVar

from django.db import transaction
from django.db.models import Model, Q, QuerySet

from turbo.changes.captured import is_captured
from turbo.changes.change import has_pk, pk_of
from turbo.changes.recording import is_heard, look_back, names_in, record
from turbo.changes.watchlist import Target, watchlist
from turbo.typing import ChangeAction

__all__ = ["ChangesQuerySet"]

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=Model)

#: The most rows in one query; SQLite allows expressions up to a depth of 1,000.
_BATCH = 200

#: Whether Django calls ``update()`` for a batch of ``bulk_update()``.
_in_batch: ContextVar[bool] = ContextVar("turbo_in_batch", default=False)


class ChangesQuerySet(QuerySet[M]):
    """
    Announces ``bulk_create()``, ``bulk_update()``, ``update()``, and async versions.

    ::

        class Message(models.Model):
            objects = turbo.ChangesQuerySet.as_manager()

        Message.objects.filter(room=room).update(pinned=False)

    Each object is one change, as if it had been saved, and all are one transaction. For
    watched models ``update()`` makes two more queries: it reads the keys before and the
    rows after the update. Inside ``turbo.suppress()`` it does not.
    """

    def bulk_create(
        self,
        objs: Iterable[M],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Collection[str] | None = None,
        unique_fields: Collection[str] | None = None,
    ) -> list[M]:
        """
        Insert ``objs`` and announce that they were created.

        With ``update_conflicts``, rows that existed before are announced as updated.
        With ``ignore_conflicts``, Django does not learn the keys that the database
        chooses. Then only new objects that already had a key are announced; a warning
        counts the objects without a key.
        """
        targets = self._targets()
        objs = list(objs)
        options: dict[str, Any] = {
            "batch_size": batch_size,
            "ignore_conflicts": ignore_conflicts,
            "update_conflicts": update_conflicts,
            "update_fields": update_fields,
            "unique_fields": unique_fields,
        }
        there: Mapping[Any, Model] = {}
        if targets and (ignore_conflicts or update_conflicts):
            self._for_write = True
            there = self._matching(objs, unique_fields or ["pk"])
        if not targets:
            return super().bulk_create(objs, **options)
        with self._together():
            made = super().bulk_create(objs, **options)
            rows = self._with_keys(made)
            if ignore_conflicts or update_conflicts:
                rows = list(self._read(self._pks(rows)).values())
            for row in rows:
                if row.pk not in there:
                    self._record(targets, row, "create")
                elif update_conflicts:
                    old = there[row.pk]
                    self._record(targets, row, "update", fields=update_fields, old=old)
        return made

    def bulk_update(
        self, objs: Iterable[M], fields: Iterable[str], batch_size: int | None = None
    ) -> int:
        """Update ``fields`` of ``objs`` and announce those that exist."""
        targets = self._targets()
        objs, fields = tuple(objs), list(fields)
        if not targets:
            return super().bulk_update(objs, fields, batch_size)
        self._for_write = True
        pks = self._pks(objs)
        old = self._read_if_asked(targets, pks, fields)
        with self._together():
            token = _in_batch.set(True)
            try:
                count = super().bulk_update(objs, fields, batch_size)
            finally:
                _in_batch.reset(token)
            there = set(pks if count == len(pks) else self._read(pks))
            for pk, obj in zip(pks, objs, strict=True):
                if pk in there:
                    self._record(targets, obj, "update", fields=fields, old=old.get(pk))
        return count

    def update(self, **kwargs: Any) -> int:
        """Update the rows and announce each one, as it is after the update."""
        targets = self._targets()
        # Django rejects the update of a slice or a union with a better message.
        if not targets or self.query.is_sliced or self.query.combinator:
            return super().update(**kwargs)
        self._for_write = True
        pks = self._keys()
        old = self._read_if_asked(targets, pks, kwargs)
        with self._together():
            count = super().update(**kwargs)
            for pk, row in self._read(pks).items():
                self._record(targets, row, "update", fields=kwargs, old=old.get(pk))
        return count

    def _together(self) -> AbstractContextManager[object]:
        """
        Return a transaction in which all rows change.

        A hook of one row may change another one, of which nothing is reported yet.
        """
        self._for_write = True
        return transaction.atomic(using=self.db, savepoint=False)

    def _targets(self) -> Sequence[Target]:
        """Return the models whose rows a write changes, if its changes are recorded."""
        if _in_batch.get():
            return []
        targets = watchlist.targets(self.model)
        return [t for t in targets if is_heard(t) or is_captured(t.model)]

    def _pks(self, objs: Iterable[M]) -> list[Any]:
        return [pk_of(obj, self.model) for obj in objs]

    def _keys(self) -> list[Any]:
        rows = self.order_by()
        # This would need a transaction, and the UPDATE locks the rows anyway.
        rows.query.select_for_update = False
        if rows.query.distinct_fields:
            rows = rows.distinct()
        return list(dict.fromkeys(rows.values_list("pk", flat=True)))

    def _read(self, pks: Sequence[Any]) -> Mapping[Any, M]:
        """Return the rows with these keys, in this order."""
        rows = self.model._base_manager.using(self.db).in_bulk(pks)
        return {pk: rows[pk] for pk in pks if pk in rows}

    def _read_if_asked(
        self, targets: Sequence[Target], pks: Sequence[Any], fields: Collection[str]
    ) -> Mapping[Any, M]:
        looks_back = any(target.reads_any(fields) for target in targets)
        return self._read(pks) if looks_back else {}

    def _matching(self, objs: Sequence[M], names: Collection[str]) -> Mapping[Any, M]:
        """Return, by key, the rows that equal one of ``objs`` in all ``names``."""
        meta = self.model._meta
        pk = meta.pk.name
        columns: list[Any] = [meta.get_field(pk if n == "pk" else n) for n in names]
        attnames = [column.attname for column in columns]
        lookups = [Q(**{name: getattr(obj, name) for name in attnames}) for obj in objs]
        manager = self.model._base_manager.using(self.db)
        found: dict[Any, M] = {}
        for start in range(0, len(lookups), _BATCH):
            any_of = reduce(operator.or_, lookups[start : start + _BATCH])
            found |= {row.pk: row for row in manager.filter(any_of)}
        return found

    def _with_keys(self, objs: Sequence[M]) -> list[M]:
        known = [obj for obj in objs if has_pk(obj, self.model)]
        if len(known) < len(objs):
            logger.warning(
                "%d of %d %s rows are not announced: the database did not return "
                "their keys.",
                len(objs) - len(known),
                len(objs),
                self.model._meta.label,
            )
        return known

    def _record(
        self,
        targets: Sequence[Target],
        row: Model,
        action: ChangeAction,
        *,
        fields: Collection[str] | None = None,
        old: Model | None = None,
    ) -> None:
        for target in targets:
            names = names_in(target.model, fields)
            if names is None or names:
                record(
                    target,
                    instance=row,
                    action=action,
                    using=self.db,
                    update_fields=names,
                    before=None if old is None else look_back(target, old),
                )
