"""
The interface of stores for cached querysets, and how their rows stay correct.

Several processes read rows from the database and write them to the store. They may
write in another order than they have read. So each process takes a *ticket*, a growing
number, *before* it reads, and rows that were read under a later ticket are never
overwritten:

* After a change is committed, its row is read under a new ticket. Of two changes of a
  row, the one with the later ticket has seen both commits.
* To fill or refresh a binding, a process reads all rows under one ticket.

A ticket is *out* until its rows are written. The store has to know which rows were
written under which ticket only while an earlier one is out. A ticket that is out for
longer than ``patience`` seconds counts as *missed*, because its owner is gone. A
binding is *filled* if all its rows were read under a later ticket than the last one
missed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, TypeAlias

from turbo.bindings.conf import get_binding_settings
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


#: The primary key and the key of a row, in a list of all rows.
Listed: TypeAlias = tuple[str, str]

#: The key of a row that any change of the row may move.
ANY = "*"


@dataclass(frozen=True, slots=True)
class Slot:
    """
    The place of one binding in the store: its class, its schema and its parameters.

    The rows of a ``listed`` binding have the order in which the database lists them.
    Other rows are sorted by their keys.
    """

    group: str
    name: str = ""
    listed: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Row:
    """
    A row in the store; ``pk`` and ``value`` are JSON.

    If the binding is not listed, rows are sorted by their keys. If it is, the key of a
    row changes whenever the row may have moved; with :data:`ANY` any change may move
    it.
    """

    pk: str
    key: str
    value: str

    def may_have_moved(self, listed_key: str | None) -> bool:
        """Return whether the row may have moved since it was listed."""
        return self.key == ANY or self.key != listed_key


@dataclass(frozen=True, slots=True)
class Ticket:
    """
    The right to write rows that are read after the ticket was taken.

    ``key`` is the key with which the row was last listed.
    """

    epoch: str
    number: int
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """The result of reading one row; ``None`` if it is not in the queryset."""

    pk: str
    row: Row | None
    #: The order of all rows, listed after that if this row may have moved.
    order: Sequence[Listed] | None = None


@dataclass(frozen=True, slots=True)
class State:
    """The version of a binding; times are Unix times of the store's clock."""

    version: Version
    modified: float
    now: float


@dataclass(frozen=True, slots=True)
class Contents:
    """
    The content of a binding: the changes since a known version, or all rows.

    Changes are JSON, one for each version. Rows are in order.
    """

    state: State
    changes: tuple[str, ...] | None = None
    rows: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Applied:
    """
    The result of a write: its changes as JSON, of which the last made ``version``.

    ``has_listeners`` says whether anybody listens. If ``reorder`` is a ticket, list the
    rows under it and write their order with :meth:`Store.reorder`.
    """

    version: Version
    has_listeners: bool = False
    changes: tuple[str, ...] = ()
    reorder: Ticket | None = None


class Store(ABC):
    """
    The base class of stores.

    Its methods raise the errors of the network. ``None`` as an answer means that the
    store has no rows, or that they may be wrong: fill the binding.
    """

    #: Whether several processes share one store.
    supports_processes: ClassVar[bool]

    def __init__(self, *, length: int = 1_000, patience: float = 60.0) -> None:
        self.length = length
        self.patience = patience

    @classmethod
    def from_settings(cls) -> Self:
        """Return a store with the options from the settings."""
        return cls(**cls.options())

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Return the keyword arguments from the settings."""
        settings = get_binding_settings()
        return {"length": settings.log_length, "patience": settings.patience}

    @abstractmethod
    def names(self, groups: Sequence[str]) -> list[list[str]]:
        """
        Return the names of each group's slots, in one round trip.

        Slots that are being filled are included.
        """

    @abstractmethod
    def take(self, slots: Sequence[Slot], pk: str) -> list[Ticket | None]:
        """
        Take a ticket for a row of each slot, in one round trip.

        The ticket is ``None`` if the slot is neither filled nor being filled, because
        there are no rows to update.
        """

    @abstractmethod
    def apply(
        self, writes: Sequence[tuple[Slot, Ticket, Read]]
    ) -> list[Applied | None]:
        """Write rows that were read under tickets, in one round trip."""

    @abstractmethod
    def reorder(
        self, slot: Slot, ticket: Ticket, order: Sequence[Listed]
    ) -> Applied | None:
        """Write the order of the rows, as listed under a ticket."""

    @abstractmethod
    def begin(self, slot: Slot, *, alone: bool) -> Ticket | None:
        """
        Take a ticket to read all rows.

        With ``alone``, return ``None`` if the slot is filled or being filled.
        """

    @abstractmethod
    def replace(
        self, slot: Slot, ticket: Ticket, rows: Sequence[Row]
    ) -> Applied | None:
        """Write all rows, read under a ticket; return ``None`` if it is not valid."""

    @abstractmethod
    def abandon(self, slot: Slot, ticket: Ticket) -> None:
        """Give a ticket back, because its rows could not be read."""

    @abstractmethod
    def peek(self, slot: Slot) -> State | None:
        """Return the state of the slot, in one round trip."""

    @abstractmethod
    def read(self, slot: Slot, known: Version | None = None) -> Contents | None:
        """Return the changes since ``known``, or all rows, in one round trip."""

    @abstractmethod
    def row(self, slot: Slot, pk: str) -> tuple[State, str | None] | None:
        """Return the value of one row, in one round trip."""

    @abstractmethod
    def listen(self, slot: Slot, *, seconds: float) -> State | None:
        """Have changes of the slot broadcast for some seconds."""

    @abstractmethod
    def bump(self, slot: Slot) -> Applied | None:
        """Make a new version of the same content, without a change in the log."""

    @abstractmethod
    def invalidate(self, slot: Slot) -> Applied | None:
        """
        Mark the slot to be filled again before it is read.

        Its version is kept.
        """

    @abstractmethod
    def clear(self, slot: Slot) -> bool:
        """Delete the slot, and return whether anybody listens."""

    @abstractmethod
    def ping(self) -> None:
        """Raise the network's error if the store cannot be reached."""
