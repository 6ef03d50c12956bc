"""The store of the bindings in a database, shared by all processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar

from turbo.bindings.conf import get_binding_settings
from turbo.bindings.store import (
    Applied,
    Contents,
    Listed,
    Read,
    Row,
    Slot,
    State,
    Store,
    Ticket,
)
from turbo.bindings.store.versions import Version
from turbo.conf import get_settings
from turbo.database.models import StoreSlot
from turbo.database.server import snapshot, writing
from turbo.database.slots import (
    StoredSlot,
    digits_of,
    find,
    lock,
    make,
    text_of,
    time_of,
)
from turbo.database.thread import DatabaseThread, TablesMissing

__all__ = ["DatabaseStore"]

T = TypeVar("T")

#: The most slots that are deleted at once because nobody uses them.
MANY = 100


class DatabaseStore(Store):
    """
    A store in the database that ``TURBO["DATABASE"]`` names.

    Each operation is one transaction, in a thread of its own, so it takes no part in
    the transactions of the application.
    """

    supports_processes = True

    def __init__(
        self,
        *,
        alias: str = "default",
        length: int = 1_000,
        patience: float = 60.0,
        age: float = 604_800.0,
        span: int = 500,
    ) -> None:
        """A change counts at most twice ``span`` rows to find the place of one."""
        super().__init__(length=length, patience=patience)
        self._span = span
        self._alias = alias
        self._age = age
        self._thread = DatabaseThread("turbo-store", alias)

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Return the keyword arguments from the settings."""
        own = {"alias": get_settings().database, "age": get_binding_settings().max_age}
        return super().options() | own

    def names(self, groups: Sequence[str]) -> list[list[str]]:
        """Return the names of each group's slots."""
        try:
            return self._thread.run(self._names, groups)
        except TablesMissing:  # as while the first migrations run
            return [[] for _ in groups]

    def take(self, slots: Sequence[Slot], pk: str) -> list[Ticket | None]:
        """Take a ticket for a row of each slot."""

        def take(stored: StoredSlot) -> Ticket | None:
            return stored.state.take(pk, stored.now)

        needed = [(slot, (pk,) if slot.listed else (), take) for slot in slots]
        return self._thread.run(self._change_each, needed)

    def apply(
        self, writes: Sequence[tuple[Slot, Ticket, Read]]
    ) -> list[Applied | None]:
        """Write rows that were read under tickets."""

        def apply(stored: StoredSlot, ticket: Ticket, read: Read) -> Applied | None:
            return self._log(stored, stored.state.apply(ticket, read, stored.now))

        needed = [
            (
                slot,
                (read.pk,) if read.order is None else None,
                partial(apply, ticket=ticket, read=read),
            )
            for slot, ticket, read in writes
        ]
        return self._thread.run(self._change_each, needed)

    def reorder(
        self, slot: Slot, ticket: Ticket, order: Sequence[Listed]
    ) -> Applied | None:
        """Write the order of the rows."""

        def reorder(stored: StoredSlot) -> Applied | None:
            return self._log(stored, stored.state.reorder(ticket, order, stored.now))

        return self._thread.run(self._change, slot, reorder, pks=None)

    def begin(self, slot: Slot, *, alone: bool) -> Ticket | None:
        """Take a ticket to read all rows."""
        return self._thread.run(self._begin, slot, alone)

    def replace(
        self, slot: Slot, ticket: Ticket, rows: Sequence[Row]
    ) -> Applied | None:
        """Write all rows, read under a ticket."""

        def replace(stored: StoredSlot) -> Applied | None:
            return self._log(stored, stored.state.replace(ticket, rows, stored.now))

        return self._thread.run(self._change, slot, replace, pks=None)

    def abandon(self, slot: Slot, ticket: Ticket) -> None:
        """Give a ticket back."""
        self._thread.run(
            self._change, slot, lambda stored: stored.state.abandon(ticket)
        )

    def peek(self, slot: Slot) -> State | None:
        """Return the state of the slot."""
        return self._thread.run(self._peek, slot)

    def read(self, slot: Slot, known: Version | None = None) -> Contents | None:
        """Return the changes since ``known``, or all rows."""
        return self._thread.run(self._read, slot, known)

    def row(self, slot: Slot, pk: str) -> tuple[State, str | None] | None:
        """Return the value of one row."""
        return self._thread.run(self._row, slot, pk)

    def listen(self, slot: Slot, *, seconds: float) -> State | None:
        """Have changes of the slot broadcast for some seconds."""

        def listen(stored: StoredSlot) -> State | None:
            state, now = stored.state, stored.now
            if not state.filled:
                return None
            state.listened_until = max(state.listened_until, now + seconds)
            return state.state(now)

        return self._thread.run(self._change, slot, listen)

    def bump(self, slot: Slot) -> Applied | None:
        """Make a new version of the same content."""

        def bump(stored: StoredSlot) -> Applied | None:
            if not stored.state.filled:
                return None
            stored.changes.delete()
            return stored.state.bump(stored.now)

        return self._thread.run(self._change, slot, bump)

    def invalidate(self, slot: Slot) -> Applied | None:
        """Mark the slot to be filled again before it is read."""
        return self._thread.run(
            self._change, slot, lambda stored: stored.state.invalidate(stored.now)
        )

    def clear(self, slot: Slot) -> bool:
        """Delete the slot, and return whether anybody listens."""
        return self._thread.run(self._clear, slot)

    def ping(self) -> None:
        """Raise the database's error if it cannot be reached."""
        self._thread.run(lambda: StoreSlot.objects.using(self._alias).exists())

    def close(self) -> None:
        """Close the connection; it is opened again when it is needed."""
        self._thread.close()

    def _names(self, groups: Sequence[str]) -> list[list[str]]:
        slots = StoreSlot.objects.using(self._alias).filter(group__in=groups)
        found = sorted(slots.values_list("group", "name"))
        return [[name for group, name in found if group == asked] for asked in groups]

    def _change(
        self,
        slot: Slot,
        work: Callable[[StoredSlot], T],
        *,
        pks: Sequence[str] | None = (),
    ) -> T | None:
        [result] = self._change_each([(slot, pks, work)])
        return result

    def _change_each(
        self,
        needed: Sequence[
            tuple[Slot, Sequence[str] | None, Callable[[StoredSlot], T | None]]
        ],
    ) -> list[T | None]:
        """
        Do work with each slot, of which it needs some rows, in one transaction.

        All processes lock slots in the same order, so none waits for one that waits for
        it.
        """
        results: dict[int, T | None] = {}
        with writing(self._alias):
            for place, (slot, pks, work) in sorted(
                enumerate(needed), key=lambda item: (item[1][0].group, item[1][0].name)
            ):
                record = lock(self._alias, slot)
                results[place] = (
                    None if record is None else self._work(record, slot, work, pks)
                )
        return [results[place] for place in range(len(needed))]

    def _work(
        self,
        record: StoreSlot,
        slot: Slot,
        work: Callable[[StoredSlot], T],
        pks: Sequence[str] | None = (),
    ) -> T:
        stored = self._load(record, slot, pks)
        result = work(stored)
        stored.save()
        return result

    def _load(
        self, record: StoreSlot, slot: Slot, pks: Sequence[str] | None = ()
    ) -> StoredSlot:
        return StoredSlot(
            record, slot, patience=self.patience, span=self._span, pks=pks
        )

    def _log(self, stored: StoredSlot, applied: Applied | None) -> Applied | None:
        if applied is not None and applied.changes:
            stored.log(applied.changes, length=self.length)
        return applied

    def _begin(self, slot: Slot, alone: bool) -> Ticket | None:
        def begin(stored: StoredSlot) -> Ticket | None:
            return stored.state.begin(stored.now, alone=alone)

        with writing(self._alias):
            while (record := lock(self._alias, slot)) is None:
                make(self._alias, slot)  # another process may delete it meanwhile
            ticket: Ticket | None = self._work(record, slot, begin)
        if ticket is not None:
            self._forget_unused(time_of(record) - self._age)
        return ticket

    def _forget_unused(self, before: float) -> None:
        unused = StoreSlot.objects.using(self._alias).filter(used__lt=before)
        for pk in unused.values_list("pk", flat=True)[:MANY]:
            with writing(self._alias):
                for record in unused.filter(pk=pk).select_for_update():
                    record.delete()

    def _peek(self, slot: Slot) -> State | None:
        with self._reading(slot, nullcontext()) as stored:
            return None if stored is None else stored.state.state(stored.now)

    def _read(self, slot: Slot, known: Version | None) -> Contents | None:
        with self._reading(slot, snapshot(self._alias)) as stored:
            if stored is None:
                return None
            state = stored.state.state(stored.now)
            changes = self._changes_since(stored, known)
            if changes is not None:
                return Contents(state, changes=changes)
            rows = stored.rows.exclude(entry=None).order_by("entry")
            found: Any = rows.values_list("pk_digits", "value")
            return Contents(state, rows=tuple((text_of(pk), v) for pk, v in found))

    def _changes_since(
        self, stored: StoredSlot, known: Version | None
    ) -> tuple[str, ...] | None:
        state = stored.state
        if known is None or known.epoch != state.epoch:
            return None
        missed = state.number - known.number
        if missed == 0:
            return ()
        if not 0 < missed <= self.length:
            return None
        later = stored.changes.filter(number__gt=known.number).order_by("number")
        changes = tuple(later.values_list("change", flat=True))
        return changes if len(changes) == missed else None

    def _row(self, slot: Slot, pk: str) -> tuple[State, str | None] | None:
        with self._reading(slot, snapshot(self._alias)) as stored:
            if stored is None:
                return None
            rows = stored.rows.filter(pk_digits=digits_of(pk))
            value = next(iter(rows.values_list("value", flat=True)), None)
            return stored.state.state(stored.now), value

    @contextmanager
    def _reading(
        self, slot: Slot, transaction: AbstractContextManager[None]
    ) -> Iterator[StoredSlot | None]:
        """Find a slot in a transaction; ``None`` if it is not filled."""
        with transaction:
            record = find(self._alias, slot)
            stored = record and self._load(record, slot)
            yield stored if stored and stored.state.filled else None
        if record and stored and stored.now - record.used > self._age / 2:
            stored.touch()

    def _clear(self, slot: Slot) -> bool:
        with writing(self._alias):
            record = lock(self._alias, slot)
            if record is None:
                return False
            stored = self._load(record, slot)
            record.delete()
            return stored.now < stored.state.listened_until
