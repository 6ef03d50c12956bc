"""A store in the memory of one process, for development and tests."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence

from turbo.bindings.store.base import (
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
from turbo.bindings.store.slot_state import SlotState
from turbo.bindings.store.versions import Version

__all__ = ["MemoryStore"]


class MemoryStore(Store):
    """A store that lives as long as its process. Any thread may use it."""

    supports_processes = False

    def __init__(
        self,
        *,
        length: int = 1_000,
        patience: float = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(length=length, patience=patience)
        self._clock = clock
        self._lock = threading.Lock()  # owns _states and their contents
        self._states: dict[Slot, SlotState] = {}

    def names(self, groups: Sequence[str]) -> list[list[str]]:
        """Return the names of each group's slots."""
        with self._lock:
            slots = list(self._states)
        return [[s.name for s in slots if s.group == group] for group in groups]

    def take(self, slots: Sequence[Slot], pk: str) -> list[Ticket | None]:
        """Take a ticket for a row of each slot."""
        with self._lock:
            states = [self._open(slot) for slot in slots]
            return [held.take(pk, self._clock()) if held else None for held in states]

    def apply(
        self, writes: Sequence[tuple[Slot, Ticket, Read]]
    ) -> list[Applied | None]:
        """Write rows that were read under tickets."""
        with self._lock:
            states = [(self._open(slot), ticket, read) for slot, ticket, read in writes]
            return [
                held.apply(ticket, read, self._clock()) if held else None
                for held, ticket, read in states
            ]

    def reorder(
        self, slot: Slot, ticket: Ticket, order: Sequence[Listed]
    ) -> Applied | None:
        """Write the order of the rows."""
        with self._lock:
            held = self._open(slot)
            return held.reorder(ticket, order, self._clock()) if held else None

    def begin(self, slot: Slot, *, alone: bool) -> Ticket | None:
        """Take a ticket to read all rows."""
        with self._lock:
            held = self._open(slot)
            if held is None:
                held = self._states[slot] = SlotState(
                    secrets.token_hex(5),
                    listed=slot.listed,
                    length=self.length,
                    patience=self.patience,
                )
            return held.begin(self._clock(), alone=alone)

    def replace(
        self, slot: Slot, ticket: Ticket, rows: Sequence[Row]
    ) -> Applied | None:
        """Write all rows, read under a ticket."""
        with self._lock:
            held = self._open(slot)
            return held.replace(ticket, rows, self._clock()) if held else None

    def abandon(self, slot: Slot, ticket: Ticket) -> None:
        """Give a ticket back."""
        with self._lock:
            if held := self._open(slot):
                held.abandon(ticket)

    def peek(self, slot: Slot) -> State | None:
        """Return the state of the slot."""
        with self._lock:
            held = self._filled(slot)
            return held.state(self._clock()) if held else None

    def read(self, slot: Slot, known: Version | None = None) -> Contents | None:
        """Return the changes since ``known``, or all rows."""
        with self._lock:
            held = self._filled(slot)
            return held.read(known, self._clock()) if held else None

    def row(self, slot: Slot, pk: str) -> tuple[State, str | None] | None:
        """Return the value of one row."""
        with self._lock:
            held = self._filled(slot)
            return (held.state(self._clock()), held.value(pk)) if held else None

    def listen(self, slot: Slot, *, seconds: float) -> State | None:
        """Have changes of the slot broadcast for some seconds."""
        with self._lock:
            held = self._filled(slot)
            if held is None:
                return None
            now = self._clock()
            held.listened_until = max(held.listened_until, now + seconds)
            return held.state(now)

    def bump(self, slot: Slot) -> Applied | None:
        """Make a new version of the same content."""
        with self._lock:
            held = self._filled(slot)
            return held.bump(self._clock()) if held else None

    def invalidate(self, slot: Slot) -> Applied | None:
        """Mark the slot to be filled again before it is read."""
        with self._lock:
            held = self._open(slot)
            return held.invalidate(self._clock()) if held else None

    def clear(self, slot: Slot) -> bool:
        """Delete the slot, and return whether anybody listens."""
        with self._lock:
            held = self._states.pop(slot, None)
            return held is not None and self._clock() < held.listened_until

    def ping(self) -> None:
        """Do nothing, because this store can always be reached."""

    def _open(self, slot: Slot) -> SlotState | None:
        held = self._states.get(slot)
        if held is not None:
            held.settle(self._clock())
        return held

    def _filled(self, slot: Slot) -> SlotState | None:
        held = self._open(slot)
        return held if held is not None and held.filled else None
