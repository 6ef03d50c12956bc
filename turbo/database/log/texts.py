"""Growing texts in the tables of the log."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal, cast

from django.db.models import QuerySet

from turbo.database.log.tables import LogTables, bytes_of, portions, text_of
from turbo.database.models import LogText
from turbo.database.server import delete, writing
from turbo.database.thread import DatabaseThread
from turbo.replay.texts import (
    LEASE,
    Put,
    Stored,
    StoredText,
    TextPlace,
    Texts,
    TextState,
)

__all__ = ["DatabaseTexts", "sweep_texts"]

#: Microseconds for which a writer that has put something holds its lease.
LASTING = round(LEASE * 1_000_000)
#: The most texts of one statement. MariaDB takes 16 megabytes, and each may have one.
AT_ONCE = 10
#: What a put may change.
COLUMNS = ("run", "writer", "at", "state", "kind", "data", "lease", "until")


class DatabaseTexts(Texts):
    """Texts in one table, a batch in one transaction."""

    def __init__(
        self, thread: DatabaseThread, tables: LogTables, *, prefix: str, age: float
    ) -> None:
        self._thread = thread
        self._tables = tables
        self._prefix = prefix
        self._age = max(1, round(age * 1_000_000))

    async def put(self, puts: Sequence[Put]) -> list[Stored]:
        """Store parts of texts."""
        return await self._thread.arun(self._put_all, puts) if puts else []

    async def read(self, places: Sequence[TextPlace]) -> list[StoredText | None]:
        """Return each text."""
        return await self._thread.arun(self._read_all, places) if places else []

    def _put_all(self, puts: Sequence[Put]) -> list[Stored]:
        keys = [self._key(put.place) for put in puts]
        rows = texts(self._tables)
        with writing(self._tables.alias):
            held = self._lock(keys)
            now = self._tables.server().now
            stored = []
            changed: dict[str, LogText] = {}  # a statement may write a row once
            for key, put in zip(keys, puts, strict=True):
                row = self._opened(held[key], key, put, now)
                if row is None:
                    stored.append(Stored(0, 0))
                    continue
                _change(row, put)
                row.lease, row.until = now + LASTING, now + self._age
                held[key] = changed[key] = row
                stored.append(Stored(row.run, row.at))
            rows.bulk_create(
                list(changed.values()),
                batch_size=AT_ONCE,
                update_conflicts=True,
                update_fields=COLUMNS,
                **self._tables.by("key"),
            )
        return stored

    def _lock(self, keys: Sequence[str]) -> dict[str, LogText]:
        """Lock the rows, which are made first: two writers may begin at once."""
        rows = texts(self._tables)
        wanted = rows.filter(key__in=keys).order_by("key").select_for_update()
        held = {row.key: row for row in wanted}
        if missing := sorted(set(keys) - held.keys()):
            new = [LogText(key=key, run=0, lease=0, until=0) for key in missing]
            rows.bulk_create(new, ignore_conflicts=True)
            held = {row.key: row for row in wanted.all()}
        return held

    def _opened(self, row: LogText, key: str, put: Put, now: int) -> LogText | None:
        """Return the row of the writer, or ``None`` if it is another writer's."""
        last = 0
        if row.until > now:
            if row.writer == put.writer:
                return row
            if put.run or (row.state == "writing" and row.lease > now):
                return None
            last = row.run
        run = put.run or max(now, last + 1)
        return LogText(
            key=key, run=run, writer=put.writer, state="writing", kind=put.kind
        )

    def _read_all(self, places: Sequence[TextPlace]) -> list[StoredText | None]:
        keys = [self._key(place) for place in places]
        now = self._tables.server().now
        rows = texts(self._tables).filter(until__gt=now)
        found = {
            row.key: _written(row, now)
            for some in portions(keys)
            for row in rows.filter(key__in=some)
        }
        return [found.get(key) for key in keys]

    def _key(self, place: TextPlace) -> str:
        text = f"{self._prefix} {place.stream} {place.id}"
        return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def texts(tables: LogTables) -> QuerySet[LogText]:
    """Return all texts."""
    return LogText.objects.using(tables.alias)


def sweep_texts(tables: LogTables) -> None:
    """Delete texts that are too old."""
    delete(texts(tables).filter(until__lte=tables.server().now))


def _change(row: LogText, put: Put) -> None:
    fits = put.kind != "text" or put.start == row.at
    if row.state != "writing" or not fits:
        return
    before = bytes(row.data) if put.kind == "text" else b""
    row.data = before + bytes_of(put.data)
    row.at, row.kind, row.state = put.at, put.kind, put.state


def _written(row: LogText, now: int) -> StoredText:
    state = cast(TextState, row.state)
    if state == "writing" and row.lease <= now:
        state = "silent"
    kind = cast(Literal["text", "html", "progress"], row.kind)
    return StoredText(row.run, row.at, state, kind, text_of(row.data))
