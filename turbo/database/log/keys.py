"""Claims and revocations in the tables of the log, and the deletion of what is old."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db.models import F, QuerySet, Value
from django.db.models.functions import Least

from turbo.database.log.tables import AT_ONCE, LogTables, portions, skipping
from turbo.database.models import LogBatch, LogKey
from turbo.database.server import Server, delete, writing

__all__ = ["Keys", "sweep"]


class Keys:
    """What is kept under a key for some time."""

    def __init__(self, tables: LogTables) -> None:
        self._tables = tables

    def claim(self, keys: Sequence[str], *, lasting: int) -> list[int]:
        """Take each key; return the time until which it is taken already, or 0."""
        remaining = []
        with writing(self._tables.alias):
            rows = self._lock_keys(keys)
            now = self._tables.server().now
            for key in keys:
                remaining.append(max(0, rows[key].until - now))
                if rows[key].until <= now:
                    rows[key].until = now + lasting
            self._save_keys(rows.values())
        return remaining

    def forbid(self, keys: Sequence[str], *, lasting: int, ceiling: int) -> None:
        """Note the revocations, at a time not after ``ceiling``."""
        with writing(self._tables.alias):
            rows = self._lock_keys(keys)
            now = self._tables.server().now
            for row in rows.values():
                row.value = max(row.value if row.until > now else 0, min(now, ceiling))
                row.until = now + lasting
            self._save_keys(rows.values())

    def forbidden(self, keys: Sequence[str]) -> tuple[dict[str, int], Server]:
        """Return the times of the revocations that are noted."""
        server = self._tables.server()
        rows = _keys(self._tables).filter(until__gt=server.now)
        times: dict[str, int] = {}
        for some in portions(keys):
            times |= rows.filter(key__in=some).values_list("key", "value")
        return times, server

    def _lock_keys(self, keys: Sequence[str]) -> dict[str, LogKey]:
        objects = _keys(self._tables)
        wanted = sorted(set(keys))
        objects.bulk_create(
            [LogKey(key=key, until=0) for key in wanted], ignore_conflicts=True
        )
        rows = objects.filter(key__in=wanted).order_by("key").select_for_update()
        return {row.key: row for row in rows}

    def _save_keys(self, rows: Iterable[LogKey]) -> None:
        _keys(self._tables).bulk_create(
            rows,
            update_conflicts=True,
            update_fields=["value", "until"],
            **self._tables.by("key"),
        )


def sweep(tables: LogTables) -> None:
    """Delete what is too old; others may append meanwhile."""
    now = tables.server().now
    horizon = now - tables.age
    while _sweep_some(tables, horizon):
        pass
    delete(tables.streams().filter(until__lte=now, last__lte=horizon))
    delete(_keys(tables).filter(until__lte=now))
    batches = LogBatch.objects.using(tables.alias)
    delete(batches.filter(time__lte=now - tables.keep))


def _sweep_some(tables: LogTables, horizon: int) -> bool:
    """Delete old messages of some streams; return whether there may be others."""
    with writing(tables.alias):
        holding = tables.streams().filter(cut__lt=F("last")).filter(cut__lt=horizon)
        rows = holding.order_by("sid").select_for_update(**skipping(tables.alias))
        sids = [row.sid for row in rows[:AT_ONCE]]
        streams = tables.streams().filter(sid__in=sids)
        streams.update(cut=Least(F("last"), Value(horizon)))
        delete(tables.messages().filter(sid__in=sids, time__lte=horizon))
    return len(sids) == AT_ONCE


def _keys(tables: LogTables) -> QuerySet[LogKey]:
    return LogKey.objects.using(tables.alias)
