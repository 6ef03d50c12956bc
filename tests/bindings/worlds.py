"""
A world of writers and readers, every step of which can be taken in any order.

The database is a dictionary. A writer commits, takes a ticket, reads and writes what it
has read; a filler takes a ticket, reads everything and writes it. A client follows the
changes from version to version.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from typing import TypeAlias

from turbo.bindings.cache.snapshot import Snapshot
from turbo.bindings.store import (
    ANY,
    Applied,
    Contents,
    Listed,
    Read,
    Row,
    Slot,
    Store,
)
from turbo.bindings.store.versions import Version

#: What a writer or a filler still has to do, one step at a time.
Work: TypeAlias = Generator[None, None, None]


class World:
    """One slot of a store, its database, and everybody at work on it."""

    def __init__(
        self, store: Store, *, kind: str, outlast: Callable[[Store, Slot], None]
    ) -> None:
        self.store = store
        self.is_keyed = kind != "unkeyed"
        self.slot = Slot("world", "", kind != "sorted")
        self.outlast = outlast
        self.database: dict[str, int] = {}  # pk: what it is ordered by, and its value
        self.work: list[Work] = []
        self.abandoned = False
        self.client = Snapshot(None, None, {})  # type: ignore[arg-type]
        self.seen: dict[Version, dict[str, str]] = {}
        self.latest: Version | None = None

    # --- What may happen

    def commit(self, pk: int, value: int | None) -> None:
        """Change a row, or delete it; its writer goes on later."""
        if value is None:
            self.database.pop(str(pk), None)
        else:
            self.database[str(pk)] = value
        self.work.append(self._write(str(pk)))

    def fill(self, *, alone: bool) -> None:
        self.work.append(self._fill(alone=alone))

    def step(self, place: int) -> None:
        """Let one of those at work take a step."""
        if self.work:
            work = self.work[place % len(self.work)]
            if next(work, self) is self:
                self.work.remove(work)

    def crash(self, place: int) -> None:
        """End one of those at work, without a word; not before it has its ticket."""
        if self.work:
            work = self.work.pop(place % len(self.work))
            if inspect.getgeneratorstate(work) == inspect.GEN_CREATED:
                next(work, None)
            work.close()
            self.abandoned = True

    def follow(self) -> None:
        """Let the client hear what has changed, and compare it with a full reading."""
        known = self.client.state
        contents = self.store.read(self.slot, known.version if known else None)
        if contents is None:
            return
        self.client = self.client.follow(contents)
        self._see(contents)
        everything = self.store.read(self.slot)
        if everything is not None:  # a ticket may have grown too old meanwhile
            assert list(everything.rows) == list(self.client.texts.items())

    def settle(self) -> None:
        """Let everybody finish; then what is kept is what the database has."""
        if self.abandoned:
            self.outlast(self.store, self.slot)
        while self.work:
            self.step(0)
        while self.store.read(self.slot) is None:
            self.fill(alone=True)
            while self.work:
                self.step(0)
        self.follow()

        assert list(self.client.texts) == self._order()
        assert self.client.texts == {row.pk: row.value for row in self._rows()}

    # --- Those at work

    def _write(self, pk: str) -> Work:
        [ticket] = self.store.take([self.slot], pk)
        if ticket is None:
            return
        yield
        row = self._row(pk) if pk in self.database else None
        yield
        order = None
        if self.slot.listed and row is not None and row.may_have_moved(ticket.key):
            order = self._listed()
        yield
        [applied] = self.store.apply([(self.slot, ticket, Read(pk, row, order))])
        yield from self._reorder(applied)

    def _fill(self, *, alone: bool) -> Work:
        ticket = self.store.begin(self.slot, alone=alone)
        if ticket is None:
            return
        yield
        rows = self._rows()
        yield
        applied = self.store.replace(self.slot, ticket, rows)
        yield from self._reorder(applied)

    def _reorder(self, applied: Applied | None) -> Work:
        while applied is not None and applied.reorder is not None:
            yield
            order = self._listed()
            yield
            applied = self.store.reorder(self.slot, applied.reorder, order)

    # --- The database

    def _row(self, pk: str) -> Row:
        value = self.database[pk]
        key = f"{value % 10:03d}{int(pk):03d}" if self.is_keyed else ANY
        return Row(pk, key, f'{{"v":{value}}}')

    def _order(self) -> list[str]:
        return sorted(self.database, key=lambda pk: (self.database[pk] % 10, int(pk)))

    def _listed(self) -> list[Listed]:
        return [(row.pk, row.key) for row in self._rows()]

    def _rows(self) -> list[Row]:
        return [self._row(pk) for pk in self._order()]

    def _see(self, contents: Contents) -> None:
        version = contents.state.version
        content = dict(self.client.texts)
        if self.latest is not None and self.latest.epoch == version.epoch:
            assert version.number >= self.latest.number
        assert self.seen.setdefault(version, content) == content
        self.latest = version
