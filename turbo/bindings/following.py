"""
Bringing bindings up to date after each commit, in the process that wrote.

A row is read again through the real queryset, which decides whether it is in it and what
its value is. So whatever a filter says is right, and of two writers the one that reads
last wins.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from turbo.bindings.declaration import Declaration
from turbo.bindings.outage import Unreachable, owe, with_store
from turbo.bindings.reading import in_transaction, refresh
from turbo.bindings.rows import pk_text
from turbo.bindings.store import Applied, Read, Slot, Ticket
from turbo.bindings.telling import tell
from turbo.changes import ModelChange, Watch, watch

__all__ = ["follow"]

#: Changes of one transaction after which all rows are read at once.
BURST = 50


class _Done(threading.local):
    """
    What this thread has read lately, by the time at which it began to.

    A signal of this thread that is older was committed before that: all hooks of one
    transaction run after its commit, one by one.
    """

    def __init__(self) -> None:
        self.all: dict[Slot, float] = {}
        self.rows: dict[tuple[Slot, str], float] = {}
        self.bursts: dict[Slot, tuple[float, int]] = {}

    def trim(self) -> None:
        for kept in (self.all, self.rows, self.bursts):
            if len(kept) > 1_000:
                kept.clear()  # type: ignore[attr-defined]


_done = _Done()


def follow(cls: type[Declaration]) -> list[Watch]:
    """Watch the model of a class of bindings, and those that it depends on."""
    concrete = cls.model._meta.concrete_model
    others = {model._meta.concrete_model for model in cls.depends_on}
    rows, whole = _follower(cls, _follow_row), _follower(cls, _follow_all)
    watches = [
        watch(model, whole if model in others else rows, mark=_mark)
        for model in (concrete, *_parents(concrete))
    ]
    others -= {concrete, *_parents(concrete)}
    return watches + [watch(model, whole, mark=_mark) for model in others]


def _parents(model: Any) -> list[Any]:
    """Return the models some of whose columns the rows of ``model`` show."""
    return [parent._meta.concrete_model for parent in model._meta.all_parents]


def _follower(
    cls: type[Declaration],
    action: Callable[[Sequence[Declaration], ModelChange], None],
) -> Callable[[ModelChange], None]:
    def tell_bindings(change: ModelChange) -> None:
        try:
            bound = _bound(cls, change)
            if bound:
                action(bound, change)
        except Unreachable:
            owe(cls.from_name("").slot if not cls.params else _any_slot(cls))

    return tell_bindings
