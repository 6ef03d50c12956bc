"""
The content of one binding, and the rules for its tickets.

The store in memory keeps these objects. The store in the database loads one for each
operation, with those rows that the operation needs, and writes back what has changed.
The Lua scripts have the same rules.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable, Sequence

from turbo.bindings.store.base import (
    ANY,
    Applied,
    Contents,
    Listed,
    Read,
    Row,
    State,
    Ticket,
)
from turbo.bindings.store.versions import Version

__all__ = ["RowOrder", "SlotState"]

#: The rank of a row that has not been listed yet; it sorts after all others.
LAST = "~"


class RowOrder:
    """The order of the rows. Each has an entry: its rank or key, and its pk."""

    def __init__(self, entries: Iterable[tuple[str, str]] = ()) -> None:
        self.entries = sorted(entries)

    def add(self, rank: str, pk: str) -> int:
        """Add a row, and return its place."""
        place = bisect_left(self.entries, (rank, pk))
        self.entries.insert(place, (rank, pk))
        return place

    def remove(self, rank: str, pk: str) -> int:
        """Remove a row, and return the place that it had."""
        place = bisect_left(self.entries, (rank, pk))
        del self.entries[place]
        return place


class SlotState:
    """The rows of one slot, and the tickets that are out. Not safe for threads."""

    def __init__(
        self, epoch: str, *, listed: bool, length: int, patience: float
    ) -> None:
        self.epoch = epoch
        self.number = 0  # 0 until the slot is filled for the first time
        self.modified = 0.0
        self.listened_until = 0.0
        self.tickets = 0  # the last one that was taken
        self.out: dict[int, float] = {}  # ticket: when it was taken; oldest first
        self.filling = 0
        self.floor = 0  # every row was read under this ticket or a later one
        self.missed = 0  # the last ticket whose rows were not written
        self.listing = 0  # the order was read under this ticket
        self.rows: dict[str, Row] = {}
        self.listed_as: dict[str, Listed] = {}  # pk: rank, key; also unknown rows
        self.written: dict[str, int] = {}  # pk: ticket, while an earlier one is out
        self.order = RowOrder()
        self._listed = listed
        self._patience = patience
        self._log: deque[str] = deque(maxlen=length)
        self._changes: list[str] = []

    @property
    def filled(self) -> bool:
        """Return whether all rows have been read."""
        return self.floor > self.missed

    @property
    def _is_being_filled(self) -> bool:
        return self.filling in self.out and self.filling > self.missed

    def settle(self, now: float) -> None:
        """Drop tickets that are out for too long, because their owners are gone."""
        for ticket, taken in list(self.out.items()):
            if now - taken <= self._patience:
                break
            del self.out[ticket]
            self._miss(ticket)

    def state(self, now: float) -> State:
        """Return the state of the slot."""
        return State(Version(self.epoch, self.number), self.modified, now)

    def take(self, pk: str, now: float) -> Ticket | None:
        """Return a ticket for one row, if the slot is filled or being filled."""
        if not self.filled and not self._is_being_filled:
            return None
        return Ticket(self.epoch, self._ticket(now), self._listed_key(pk))

    def begin(self, now: float, *, alone: bool) -> Ticket | None:
        """Return a ticket for all rows; with ``alone`` only to the first that asks."""
        if alone and (self.filled or self._is_being_filled):
            return None
        number = self._ticket(now)
        if not self.filled:
            self.filling = number
        return Ticket(self.epoch, number)

    def apply(self, ticket: Ticket, read: Read, now: float) -> Applied | None:
        """Write one row that was read under a ticket, unless there is a newer one."""
        if not self._land(ticket):
            return None
        number, pk, row = ticket.number, read.pk, read.row
        if number <= max(self.floor, self.written.get(pk, 0)):
            return self._applied(now)
        self.written[pk] = number
        place, value = self._lift(pk)
        moved = read.order is not None and self._list(number, read.order)
        if row is None:
            self._remove(pk, value)
        else:
            self._put(row, place, value, force=moved)
        is_lost = (
            self._listed
            and read.order is None
            and row is not None
            and number > self.listing
            and row.may_have_moved(self._listed_key(pk))
        )
        return self._applied(now, reorder=is_lost or self._has_lost(number, besides=pk))

    def reorder(
        self, ticket: Ticket, order: Sequence[Listed], now: float
    ) -> Applied | None:
        """Write the order of the rows, read under a ticket."""
        if not self._land(ticket):
            return None
        self._list(ticket.number, order)
        return self._applied(now, reorder=self._has_lost(ticket.number))

    def replace(
        self, ticket: Ticket, rows: Sequence[Row], now: float
    ) -> Applied | None:
        """Write all rows, except those written under a later ticket."""
        if not self._land(ticket):
            return None
        number = ticket.number
        if number <= self.floor:
            return self._applied(now)
        later = {pk for pk, written in self.written.items() if written > number}
        given = {row.pk for row in rows}
        for pk in [pk for pk in self.rows if pk not in given and pk not in later]:
            self._remove(pk, self._lift(pk)[1])
        if self._listed:
            self._list(number, [(row.pk, row.key) for row in rows])
        for row in rows:
            if row.pk not in later and self.rows.get(row.pk) != row:
                self._put(row, *self._lift(row.pk))
        self.floor = number
        if not self.number:
            self.number, self.modified = 1, now
        return self._applied(now, reorder=self._has_lost(number))

    def abandon(self, ticket: Ticket) -> None:
        """Take a ticket back whose rows were not read."""
        if self._land(ticket):
            self._miss(ticket.number)

    def read(self, known: Version | None, now: float) -> Contents:
        """Return the changes since ``known``, or all rows."""
        state = self.state(now)
        if known is not None and known.epoch == self.epoch:
            missed = self.number - known.number
            if 0 <= missed <= len(self._log):
                log = list(self._log)
                return Contents(state, changes=tuple(log[len(log) - missed :]))
        rows = tuple((pk, self.rows[pk].value) for _, pk in self.order.entries)
        return Contents(state, rows=rows)

    def value(self, pk: str) -> str | None:
        """Return the text of one row."""
        row = self.rows.get(pk)
        return None if row is None else row.value

    def bump(self, now: float) -> Applied:
        """Make a new version of the same rows."""
        self.number += 1
        self.modified = now
        self._log.clear()
        return self._applied(now)

    def invalidate(self, now: float) -> Applied:
        """Mark the slot to be filled again."""
        self._miss(self.tickets)
        return self._applied(now)

    def _ticket(self, now: float) -> int:
        self.tickets += 1
        self.out[self.tickets] = now
        return self.tickets

    def _land(self, ticket: Ticket) -> bool:
        """Take a ticket back, and return whether it is still valid."""
        if ticket.epoch != self.epoch:
            return False
        if self.out.pop(ticket.number, None) is None:
            self._miss(ticket.number)
            return False
        return True

    def _miss(self, number: int) -> None:
        self.missed = max(self.missed, number)

    def _applied(self, now: float, *, reorder: bool = False) -> Applied:
        ticket = Ticket(self.epoch, self._ticket(now)) if reorder else None
        if not self.out:
            self.written.clear()
        elif len(self.written) > 100:
            earliest = next(iter(self.out))
            self.written = {p: t for p, t in self.written.items() if t > earliest}
        changes, self._changes = tuple(self._changes), []
        if changes:
            self.modified = max(now, self.modified)
        version = Version(self.epoch, self.number)
        return Applied(version, now < self.listened_until, changes, ticket)

    def rank(self, pk: str) -> str:
        """Return what a row is sorted by."""
        if not self._listed:
            return self.rows[pk].key
        return self.listed_as[pk][0] if pk in self.listed_as else LAST

    def _listed_key(self, pk: str) -> str | None:
        return self.listed_as[pk][1] if pk in self.listed_as else None

    def _has_lost(self, number: int, *, besides: str | None = None) -> bool:
        """
        Return whether the order is older than one of its rows.

        It is if the order was read under ``number``, and a row was written with another
        key under a later ticket, whose owner may have seen that key in the older list.
        """
        return number == self.listing and any(
            written > number
            and pk != besides
            and pk in self.rows
            and self.rows[pk].key not in (ANY, self._listed_key(pk))
            for pk, written in self.written.items()
        )

    def _lift(self, pk: str) -> tuple[int | None, str | None]:
        """Remove a row from the order, and return its place and its value."""
        if pk not in self.rows:
            return None, None
        return self.order.remove(self.rank(pk), pk), self.rows[pk].value

    def _put(
        self, row: Row, place: int | None, value: str | None, *, force: bool = False
    ) -> None:
        """Insert a new row, or one that was lifted, at its place in the order."""
        self.rows[row.pk] = row
        index = self.order.add(self.rank(row.pk), row.pk)
        if value is None:
            self._note("create", row.pk, index, row.value)
        elif force or value != row.value or place != index:
            self._note("update", row.pk, index, row.value)

    def _remove(self, pk: str, value: str | None) -> None:
        if value is not None:
            del self.rows[pk]
            self._note("delete", pk)

    def _list(self, number: int, order: Sequence[Listed]) -> bool:
        """Use an order if it is newer, and return whether rows have moved."""
        if number <= self.listing:
            return False
        self.listing = number
        before = [pk for _, pk in self.order.entries]
        self.listed_as = {
            pk: (f"{place:08d}", key) for place, (pk, key) in enumerate(order)
        }
        self.order = RowOrder((self.rank(pk), pk) for pk in before)
        after = [pk for _, pk in self.order.entries]
        if before == after:
            return False
        self._log_change(f'{{"action":"order","order":[{",".join(after)}]}}')
        return True

    def _note(
        self, action: str, pk: str, index: int | None = None, value: str = ""
    ) -> None:
        body = "" if index is None else f',"index":{index},"value":{value}'
        self._log_change(f'{{"action":{json.dumps(action)},"pk":{pk}{body}}}')

    def _log_change(self, change: str) -> None:
        if self.number:  # no reader needs the changes that led to the first version
            self.number += 1
            self._log.append(change)
            self._changes.append(change)
