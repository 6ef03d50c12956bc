"""
What a store of cached querysets is, and how it stays right.

Several processes read rows from the database and write what they have read. The order
in which they read is not the order in which they write, so each takes a *ticket*, a
growing number, *before* it reads, and what was read under a later ticket is never
overwritten:

* A change is read again under a ticket taken after its commit. Of two changes of a row,
  the one with the later ticket has seen both commits.
* To fill or to refresh a binding is to read all rows under one ticket.

A ticket is *out* until its reading is written. Which rows were written under which
ticket need only be known while an earlier one is out. A ticket that is out for longer
than ``patience`` seconds counts as *missed*: its owner is gone. A binding is *filled*
when all its rows were read under a later ticket than the last one missed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from turbo.bindings.store.versions import Version

__all__ = [
    "ANY",
    "Applied",
    "Contents",
    "Listed",
    "Read",
    "Row",
    "Slot",
    "State",
    "Store",
    "Ticket",
]


#: Primary key and key of a row, in a list of all.
Listed: TypeAlias = tuple[str, str]

#: The key of a row that any change may move.
ANY = "*"


@dataclass(frozen=True, slots=True)
class Slot:
    """
    The place of one binding: its class, and its schema and parameters.

    The rows of a ``listed`` binding stand in the order in which the database lists
    them; those of others are sorted by their keys.
    """

    group: str
    name: str = ""
    listed: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Row:
    """
    A row as it is kept; ``pk`` and ``value`` are JSON.

    Where the binding is not listed, the keys' order is the rows' order. Where it is,
    the key changes whenever the row may have moved; :data:`ANY` says that any change
    may move it.
    """

    pk: str
    key: str
    value: str

    def may_have_moved(self, listed_key: str | None) -> bool:
        """Return whether the row stands elsewhere than when it was listed."""
        return self.key == ANY or self.key != listed_key


@dataclass(frozen=True, slots=True)
class Ticket:
    """
    The right to write what is read from now on.

    ``key`` is the one under which the row was listed last.
    """

    epoch: str
    number: int
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """What was read of one row: itself, ``None`` if it is not in the queryset."""

    pk: str
    row: Row | None
    #: All rows as listed after that, where this one may have moved.
    order: Sequence[Listed] | None = None


@dataclass(frozen=True, slots=True)
class State:
    """Where a binding stands; times are Unix times by the store's clock."""

    version: Version
    modified: float
    now: float


@dataclass(frozen=True, slots=True)
class Contents:
    """
    A binding's content: the changes since the version that was known, or all rows.

    Changes are JSON, one for each version; rows are in order.
    """

    state: State
    changes: tuple[str, ...] | None = None
    rows: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Applied:
    """
    What a write came to: ``changes`` are JSON, the last one made ``version``.

    ``has_listeners`` says that somebody listens. With ``reorder`` the rows are to be
    listed and written with :meth:`Store.reorder` under this ticket.
    """

    version: Version
    has_listeners: bool = False
    changes: tuple[str, ...] = ()
    reorder: Ticket | None = None


class Store(ABC):
    """
    The base of every store.

    Its methods raise what the network raises. ``None`` instead of an answer means that
    nothing is kept, or that it cannot be relied on: fill the binding.
    """

    #: Do several processes see one store?
    supports_processes: ClassVar[bool]

    def __init__(self, *, length: int = 1_000, patience: float = 60.0) -> None:
        self.length = length
        self.patience = patience

    @abstractmethod
    def names(self, groups: Sequence[str]) -> list[list[str]]:
        """
        Return the names of each group's slots, in one round trip.

        Those that are only being filled are among them.
        """

    @abstractmethod
    def take(self, slots: Sequence[Slot], pk: str) -> list[Ticket | None]:
        """
        Take a ticket for a row of each slot, in one round trip.

        ``None`` stands for a slot that nobody has filled or is filling: there is
        nothing to be kept right.
        """

    @abstractmethod
    def apply(
        self, writes: Sequence[tuple[Slot, Ticket, Read]]
    ) -> list[Applied | None]:
        """Write what was read under tickets, in one round trip."""

    @abstractmethod
    def reorder(
        self, slot: Slot, ticket: Ticket, order: Sequence[Listed]
    ) -> Applied | None:
        """Write the order of the rows, as listed under a ticket."""

    @abstractmethod
    def begin(self, slot: Slot, *, alone: bool) -> Ticket | None:
        """
        Take a ticket to read all rows.

        ``alone``: only if the slot is not filled and nobody else is about to.
        """

    @abstractmethod
    def replace(
        self, slot: Slot, ticket: Ticket, rows: Sequence[Row]
    ) -> Applied | None:
        """Write all rows as read under a ticket. ``None``: the ticket is void."""

    @abstractmethod
    def abandon(self, slot: Slot, ticket: Ticket) -> None:
        """Give a ticket back: what it was for has not been read."""

    @abstractmethod
    def peek(self, slot: Slot) -> State | None:
        """Return where the slot stands, in one round trip."""

    @abstractmethod
    def read(self, slot: Slot, known: Version | None = None) -> Contents | None:
        """Return what has changed since ``known``, or everything, in one round trip."""

    @abstractmethod
    def row(self, slot: Slot, pk: str) -> tuple[State, str | None] | None:
        """Return the value of one row, in one round trip."""

    @abstractmethod
    def listen(self, slot: Slot, *, seconds: float) -> State | None:
        """Say that somebody wants to hear of changes, for some seconds."""

    @abstractmethod
    def bump(self, slot: Slot) -> Applied | None:
        """Make a new version of the same content, which no change leads to."""

    @abstractmethod
    def invalidate(self, slot: Slot) -> Applied | None:
        """
        Let the slot be filled again, from now on, before it is read.

        Its version lives on.
        """

    @abstractmethod
    def clear(self, slot: Slot) -> bool:
        """Forget the slot; return whether somebody listens."""

    @abstractmethod
    def ping(self) -> None:
        """Raise what the network raises."""
