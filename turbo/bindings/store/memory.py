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
from turbo.bindings.store.slot_state import Book
from turbo.bindings.store.versions import Version

__all__ = ["MemoryStore"]


class MemoryStore(Store):
    """A store that ends with its process. Any thread may use it."""

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
        self._lock = threading.Lock()  # owns _books and what is in them
        self._books: dict[Slot, Book] = {}

    def names(self, groups: Sequence[str]) -> list[list[str]]:
        """Return the names of each group's slots."""
        with self._lock:
            slots = list(self._books)
        return [[s.name for s in slots if s.group == group] for group in groups]

    def take(self, slots: Sequence[Slot], pk: str) -> list[Ticket | None]:
        """Take a ticket for a row of each slot."""
        with self._lock:
            books = [self._open(slot) for slot in slots]
            return [book.take(pk, self._clock()) if book else None for book in books]

    def apply(
        self, writes: Sequence[tuple[Slot, Ticket, Read]]
    ) -> list[Applied | None]:
        """Write what was read under tickets."""
        with self._lock:
            books = [(self._open(slot), ticket, read) for slot, ticket, read in writes]
            return [
                book.apply(ticket, read, self._clock()) if book else None
                for book, ticket, read in books
            ]

    def reorder(
        self, slot: Slot, ticket: Ticket, order: Sequence[Listed]
    ) -> Applied | None:
        """Write the order of the rows."""
        with self._lock:
            book = self._open(slot)
            return book.reorder(ticket, order, self._clock()) if book else None

    def begin(self, slot: Slot, *, alone: bool) -> Ticket | None:
        """Take a ticket to read all rows."""
        with self._lock:
            book = self._open(slot)
            if book is None:
                book = self._books[slot] = Book(
                    secrets.token_hex(5),
                    listed=slot.listed,
                    length=self.length,
                    patience=self.patience,
                )
            return book.begin(self._clock(), alone=alone)

    def replace(
        self, slot: Slot, ticket: Ticket, rows: Sequence[Row]
    ) -> Applied | None:
        """Write all rows as read under a ticket."""
        with self._lock:
            book = self._open(slot)
            return book.replace(ticket, rows, self._clock()) if book else None

    def abandon(self, slot: Slot, ticket: Ticket) -> None:
        """Give a ticket back."""
        with self._lock:
            if book := self._open(slot):
                book.abandon(ticket)

    def peek(self, slot: Slot) -> State | None:
        """Return where the slot stands."""
        with self._lock:
            book = self._filled(slot)
            return book.state(self._clock()) if book else None

    def read(self, slot: Slot, known: Version | None = None) -> Contents | None:
        """Return what has changed since ``known``, or everything."""
        with self._lock:
            book = self._filled(slot)
            return book.read(known, self._clock()) if book else None

    def row(self, slot: Slot, pk: str) -> tuple[State, str | None] | None:
        """Return the value of one row."""
        with self._lock:
            book = self._filled(slot)
            return (book.state(self._clock()), book.value(pk)) if book else None

    def listen(self, slot: Slot, *, seconds: float) -> State | None:
        """Say that somebody wants to hear of changes."""
        with self._lock:
            book = self._filled(slot)
            if book is None:
                return None
            now = self._clock()
            book.listened_until = max(book.listened_until, now + seconds)
            return book.state(now)

    def bump(self, slot: Slot) -> Applied | None:
        """Make a new version of the same content."""
        with self._lock:
            book = self._filled(slot)
            return book.bump(self._clock()) if book else None

    def invalidate(self, slot: Slot) -> Applied | None:
        """Let the slot be filled again before it is read."""
        with self._lock:
            book = self._open(slot)
            return book.invalidate(self._clock()) if book else None

    def clear(self, slot: Slot) -> bool:
        """Forget the slot."""
        with self._lock:
            book = self._books.pop(slot, None)
            return book is not None and self._clock() < book.listened_until

    def ping(self) -> None:
        """Do nothing: this store is always there."""

    def _open(self, slot: Slot) -> Book | None:
        book = self._books.get(slot)
        if book is not None:
            book.settle(self._clock())
        return book

    def _filled(self, slot: Slot) -> Book | None:
        book = self._open(slot)
        return book if book is not None and book.filled else None
