"""
The slots of the bindings' store, in the tables of a database.

Whoever changes a slot locks its row, so that two processes never do so at once, and
loads the rows that the operation needs: none, one or all. Whoever reads sees the tables
as they are at one moment, and locks nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
import secrets
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models import QuerySet
from django.utils.functional import cached_property

from turbo.bindings.store import Row, Slot
from turbo.bindings.store.slot_state import RowOrder, SlotState
from turbo.database.models import StoreChange, StoreRow, StoreSlot
from turbo.database.server import Data, Microseconds, ask_server, whole_data

__all__ = ["StoredSlot", "digits_of", "find", "lock", "make", "text_of", "time_of"]

#: The columns of a slot that are numbers of its state.
NUMBERS = (
    "number",
    "modified",
    "listened_until",
    "tickets",
    "filling",
    "floor",
    "missed",
    "listing",
)
#: The longest text that a column of digits holds, in bytes.
LONGEST = 382
#: The most rows that one statement names.
AT_ONCE = 500


def time_of(record: Any) -> float:
    """Return the database's time when the row of a slot was read."""
    return float(record.now / 1_000_000)


def digest_of(slot: Slot) -> str:
    """Return by which a slot is known in the table."""
    text = json.dumps([slot.group, slot.name])
    return hashlib.sha256(text.encode()).hexdigest()


def digits_of(text: str) -> str:
    """Return hexadecimal digits that sort as the text does."""
    coded = text.encode("utf-8", "surrogatepass")
    if len(coded) > LONGEST:
        raise ValueError(
            f"{text[:50]!a}… has {len(coded)} bytes. The store in the database sorts "
            f"rows by keys of at most {LONGEST} bytes."
        )
    return coded.hex()


def entry_of(rank: str, pk: str) -> str:
    """Return digits that sort as the rank does, and rows of one rank as the pk does."""
    plain = rank.replace("\1", "\1\2").replace("\0", "\1\1")
    return digits_of(f"{plain}\0{pk}")


def text_of(digits: str) -> str:
    """Return the text of which these are the digits."""
    return bytes.fromhex(digits).decode("utf-8", "surrogatepass")


def find(alias: str, slot: Slot) -> StoreSlot | None:
    """Return the row of a slot, unless the database may have lost some of its data."""
    found = _said(alias, slot)
    return next((record for record in found if not _is_old(record)), None)


def lock(alias: str, slot: Slot) -> StoreSlot | None:
    """Return the same, locked until the end of the transaction."""
    record: StoreSlot
    for record in _said(alias, slot).select_for_update():
        if not _is_old(record):
            return record
        record.delete(using=alias)  # whatever a router says
    return None


def make(alias: str, slot: Slot) -> None:
    """Make an empty slot, unless another process is faster."""
    new = StoreSlot(
        digest=digest_of(slot),
        group=slot.group,
        name=slot.name,
        epoch=secrets.token_hex(5),
        data=ask_server(alias, secrets.token_hex(5)).data,
    )
    StoreSlot.objects.using(alias).bulk_create([new], ignore_conflicts=True)


def _said(alias: str, slot: Slot) -> QuerySet[Any]:
    slots = StoreSlot.objects.using(alias).filter(digest=digest_of(slot))
    return slots.annotate(now=Microseconds(), said=Data(alias)).defer("spans")


def _is_old(record: Any) -> bool:
    """Return whether the version may be older than one that clients have seen."""
    return bool(record.data != whole_data(record._state.db, record.said))


class Spans:
    """
    The order of the rows in short spans, each with its first entry and its length.

    So the place of a row is known without counting all rows before it.
    """

    def __init__(self, text: str, *, length: int) -> None:
        found: list[tuple[str, int]] = json.loads(text)
        self.starts = [start for start, _ in found] or [""]
        self.lengths = [length for _, length in found] or [0]
        self._length = length

    @classmethod
    def of(cls, entries: Sequence[str], *, length: int) -> Spans:
        """Return the spans of these rows."""
        spans = cls("[]", length=length)
        cuts = range(0, len(entries), length) or [0]
        spans.starts = ["", *(entries[cut] for cut in cuts[1:])]
        spans.lengths = [min(length, len(entries) - cut) for cut in cuts]
        return spans

    def __str__(self) -> str:
        pairs = zip(self.starts, self.lengths, strict=True)
        return json.dumps([pair for pair in pairs if pair[1] or not pair[0]])

    def find(self, entry: str) -> int:
        """Return the number of the span in which an entry has its place."""
        return bisect_right(self.starts, entry) - 1

    def is_long(self, number: int) -> bool:
        """Return whether a span should be cut in two."""
        return self.lengths[number] > 2 * self._length

    def cut(self, number: int, start: str, length: int) -> None:
        """Let the rows from ``start`` on, after so many, be a span of their own."""
        rest = self.lengths[number] - length
        self.starts.insert(number + 1, start)
        self.lengths[number : number + 1] = [length, rest]


class CountedOrder(RowOrder):
    """The order of rows that are not loaded; the database counts them, span by span."""

    def __init__(self, record: StoreSlot, rows: QuerySet[StoreRow], span: int) -> None:
        super().__init__()
        self._record = record
        self._rows = rows
        self._span = span
        self._removed: tuple[str, int] | None = None

    @cached_property
    def spans(self) -> Spans:
        """Return the spans, which few operations need."""
        return Spans(self._record.spans, length=self._span)

    def remove(self, rank: str, pk: str) -> int:
        """Take a row out, and return its place; the table still has it."""
        entry = entry_of(rank, pk)
        place = self._place(entry, pk)
        self.spans.lengths[self.spans.find(entry)] -= 1
        self._removed = entry, place
        return place

    def add(self, rank: str, pk: str) -> int:
        """Add a row, which may have been removed, and return its place."""
        entry, spans = entry_of(rank, pk), self.spans
        number = spans.find(entry)
        if self._removed and self._removed[0] == entry:
            place = self._removed[1]
        else:
            place = self._place(entry, pk)
        spans.lengths[number] += 1
        if spans.is_long(number):
            others = self._others(number, pk).order_by("entry")
            start = others.values_list("entry", flat=True)[self._span]
            assert start is not None, "it is in the order"
            spans.cut(number, start, self._span + (entry < start))
        return place

    def _place(self, entry: str, pk: str) -> int:
        number = self.spans.find(entry)
        before = self._others(number, pk).filter(entry__lt=entry).count()
        return sum(self.spans.lengths[:number]) + before

    def _others(self, number: int, pk: str) -> QuerySet[StoreRow]:
        """Return the rows of a span and those after it, without one."""
        rows = self._rows.filter(entry__gte=self.spans.starts[number])
        return rows.exclude(pk_digits=digits_of(pk))


class StoredSlot:
    """
    A slot that is read or changed: its state, with the rows that were loaded.

    ``pks`` are the rows to load; ``None`` stands for all.
    """

    def __init__(
        self,
        record: StoreSlot,
        slot: Slot,
        *,
        patience: float,
        span: int,
        pks: Sequence[str] | None = (),
    ) -> None:
        self._span = span
        self.now = time_of(record)
        self._record = record
        self._loaded: dict[str, StoreRow] = {}
        state = self.state = SlotState(
            record.epoch, listed=slot.listed, length=0, patience=patience
        )
        for name in NUMBERS:
            setattr(state, name, getattr(record, name))
        state.out = dict(json.loads(record.out))
        self._load(pks)
        state.settle(self.now)

    @property
    def rows(self) -> QuerySet[StoreRow]:
        """Return the rows of this slot."""
        return StoreRow.objects.using(self._record._state.db).filter(slot=self._record)

    @property
    def changes(self) -> QuerySet[StoreChange]:
        """Return the changes of this slot."""
        objects = StoreChange.objects.using(self._record._state.db)
        return objects.filter(slot=self._record)

    def touch(self, **columns: Any) -> None:
        """Note that the slot is used, and write these columns."""
        slots = StoreSlot.objects.using(self._record._state.db)
        slots.filter(pk=self._record.pk).update(used=self.now, **columns)

    def save(self) -> None:
        """Write what has changed of the slot and of the loaded rows."""
        self._save_rows()
        self._forget_deleted()
        given = {name: getattr(self.state, name) for name in NUMBERS}
        given["out"] = json.dumps(list(self.state.out.items()))
        if (spans := self._spans()) is not None:
            given["spans"] = str(spans)
        if any(getattr(self._record, name) != given[name] for name in given):
            self.touch(**given)

    def log(self, changes: Sequence[str], *, length: int) -> None:
        """Add the changes that led to the version; now and then delete the oldest."""
        last = self.state.number
        first = last - len(changes) + 1
        self.changes.bulk_create(
            [
                StoreChange(slot=self._record, number=number, change=change)
                for number, change in enumerate(changes, first)
                if number > last - length
            ],
            batch_size=AT_ONCE,
        )
        often = max(1, length // 10)
        if first // often != (last + 1) // often:
            self.changes.filter(number__lte=last - length).delete()

    def _load(self, pks: Sequence[str] | None) -> None:
        state, found = self.state, self.rows
        if pks is not None:
            found = found.filter(pk_digits__in=[digits_of(pk) for pk in pks])
        earliest = next(iter(state.out), math.inf)
        for row in found:
            pk = text_of(row.pk_digits)
            self._loaded[pk] = row
            if row.value is not None:
                state.rows[pk] = Row(pk, row.key, row.value)
            if row.place is not None:
                state.listed_as[pk] = (f"{row.place:08d}", row.listed_key)
            if row.written > earliest:
                state.written[pk] = row.written
            else:
                row.written = 0  # nobody asks for it any more
        if pks is None:
            state.order = RowOrder((state.rank(pk), pk) for pk in state.rows)
        else:
            state.order = CountedOrder(self._record, self.rows, self._span)

    def _save_rows(self) -> None:
        state, loaded = self.state, self._loaded
        new: list[StoreRow] = []
        changed: list[tuple[StoreRow, Mapping[str, Any]]] = []
        gone: list[StoreRow] = []
        for pk in {*loaded, *state.rows, *state.listed_as, *state.written}:
            row, columns = loaded.get(pk), self._columns(pk)
            if not any(columns[name] for name in ("value", "listed_key", "written")):
                gone += [row] if row else []
            elif row is None:
                digits = digits_of(pk)
                new.append(StoreRow(slot=self._record, pk_digits=digits, **columns))
            elif any(getattr(row, name) != columns[name] for name in columns):
                changed.append((row, columns))
        self._write(new, changed, gone)

    def _forget_deleted(self) -> None:
        """
        Delete what is known of deleted rows, once no earlier ticket is out.

        The next row that is deleted brings this about.
        """
        if any(
            row.value and pk not in self.state.rows for pk, row in self._loaded.items()
        ):
            deleted = self.rows.filter(entry=None, place=None)
            if self.state.out:
                deleted = deleted.filter(written__lte=next(iter(self.state.out)))
            deleted.delete()

    def _spans(self) -> Spans | None:
        """Return the spans, if they may have changed."""
        order = self.state.order
        if isinstance(order, CountedOrder):
            return vars(order).get("spans")
        entries = [entry_of(rank, pk) for rank, pk in order.entries]
        return Spans.of(entries, length=self._span)

    def _columns(self, pk: str) -> dict[str, Any]:
        """Return what is to be stored of a row."""
        state = self.state
        row, listed_as = state.rows.get(pk), state.listed_as.get(pk)
        return {
            "entry": row and entry_of(state.rank(pk), pk),
            "key": row and row.key,
            "value": row and row.value,
            "place": listed_as and int(listed_as[0]),
            "listed_key": listed_as and listed_as[1],
            "written": state.written.get(pk, 0),
        }

    def _write(
        self,
        new: list[StoreRow],
        changed: list[tuple[StoreRow, Mapping[str, Any]]],
        gone: list[StoreRow],
    ) -> None:
        if len(changed) == 1:
            [(row, columns)] = changed
            self.rows.filter(pk=row.pk).update(**columns)
            changed = []
        # To insert many rows again is faster than to update each.
        old = [row.pk for row in gone] + [row.pk for row, _ in changed]
        for first in range(0, len(old), AT_ONCE):
            self.rows.filter(pk__in=old[first : first + AT_ONCE]).delete()
        for row, columns in changed:
            row.pk = None
            for name, value in columns.items():
                setattr(row, name, value)
        renewed = [row for row, _ in changed]
        self.rows.bulk_create([*new, *renewed], batch_size=AT_ONCE)
