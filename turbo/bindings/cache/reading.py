"""
Read a binding from the copy in this process, the store, or the database.

A process keeps the rows that it has read, so most reads cost one round trip to the
store, which returns the changes since then. If the store has no rows, one process fills
it and the others wait.

Inside a transaction nothing is filled, because the transaction may see rows that are
never committed, or may not see rows that are. Until it ends, rows come from the
database.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from django.core.signals import setting_changed
from django.db import connections

from turbo.bindings.cache.background import do_later, do_now, wait_until_done
from turbo.bindings.cache.declaration import Declaration
from turbo.bindings.cache.notify import tell
from turbo.bindings.cache.outage import Unreachable, with_store
from turbo.bindings.cache.snapshot import Snapshot
from turbo.bindings.conf import get_binding_settings
from turbo.bindings.store import Applied, Listed, Slot, State, Store, Ticket
from turbo.changes.rows import pk_text
from turbo.changes.transaction import Outcome, in_transaction, wait
from turbo.runtime.forks import Lock
from turbo.runtime.namespaces import current, within

__all__ = [
    "fill",
    "forget_copies",
    "peek",
    "read",
    "read_row",
    "refresh",
    "reorder",
    "require_done",
]

#: How often to fill a binding before reading from the database instead.
ATTEMPTS = 3

_copies: OrderedDict[Slot, Snapshot] = OrderedDict()
_lock = Lock()  # owns _copies


def read(declaration: Declaration) -> Snapshot:
    """Return the rows; the last resort is the database, which gives no state."""
    snapshot = None
    if not _has_own_changes(declaration):
        with suppress(Unreachable):
            snapshot = _read_stored(declaration)
    return snapshot or Snapshot.of_rows(declaration.schema, declaration.load())


def read_row(declaration: Declaration, pk: Any) -> tuple[State | None, Any]:
    """Return the state of the binding, and one row or ``None``."""
    if not _has_own_changes(declaration):
        with suppress(Unreachable):
            require_done(declaration)
            found = with_store(lambda store: store.row(declaration.slot, pk_text(pk)))
            if found is None:
                snapshot = read(declaration)
                return snapshot.state, snapshot.get(pk)
            state, value = found
            return state, value and declaration.schema.read(value)()
    row = declaration.load_row(pk)
    return None, row and declaration.schema.read(row.value)()


def peek(declaration: Declaration) -> State | None:
    """Return the state of a binding, or ``None`` if the store has none."""
    if _has_own_changes(declaration):
        return None
    try:
        require_done(declaration)
        return with_store(lambda store: store.peek(declaration.slot))
    except Unreachable:
        return None


def fill(declaration: Declaration) -> bool:
    """Fill a binding, unless it is filled or another process is filling it."""
    slot = declaration.slot
    ticket = with_store(lambda store: store.begin(slot, alone=True))
    if ticket is None:
        return False
    _replace(declaration, ticket)
    return True


def refresh(declaration: Declaration) -> int:
    """
    Read all rows anew, and return the number of changes.

    In a transaction, read them after the commit, and return 0.
    """
    if in_transaction(connections[declaration.database]):
        _after_commit(declaration, refresh)
        return 0
    slot = declaration.slot
    ticket = with_store(lambda store: store.begin(slot, alone=False))
    assert ticket is not None, "only begin(alone=True) returns None"
    applied = _replace(declaration, ticket)
    return len(applied.changes) if applied else 0


def reorder(declaration: Declaration, applied: Applied | None) -> None:
    """Read the order of the rows anew, if a write has made it unknown."""
    slot = declaration.slot
    while applied is not None and (ticket := applied.reorder) is not None:
        order = declaration.load_order()
        work = partial(_write_order, slot=slot, ticket=ticket, order=order)
        applied = with_store(work)
        tell(slot, applied)


def _write_order(
    store: Store, *, slot: Slot, ticket: Ticket, order: Sequence[Listed]
) -> Applied | None:
    return store.reorder(slot, ticket, order)


def forget_copies() -> None:
    """Drop all rows that this process has read."""
    with _lock:
        _copies.clear()


def require_done(declaration: Declaration) -> None:
    """Wait for the changes of this process; raise :exc:`Unreachable` after a while."""
    if not wait_until_done(declaration.group(), get_binding_settings().wait):
        raise Unreachable


def _read_stored(declaration: Declaration) -> Snapshot | None:
    deadline = time.monotonic() + get_binding_settings().wait
    filled = 0
    require_done(declaration)
    while (snapshot := _follow(declaration)) is None:
        if in_transaction(connections[declaration.database]):
            _after_commit(declaration, fill)
            return None
        if fill(declaration):
            filled += 1
            if filled == ATTEMPTS:
                return _follow(declaration)
        elif time.monotonic() > deadline:
            return None
        else:
            time.sleep(0.01)
    return snapshot


def _follow(declaration: Declaration) -> Snapshot | None:
    """Return the copy of this process, brought up to date."""
    slot = declaration.slot
    copy = _copies.get(slot)
    known = copy.state.version if copy and copy.state else None
    contents = with_store(lambda store: store.read(slot, known))
    if contents is None:
        return None
    snapshot = (copy or Snapshot(declaration.schema, None, {})).follow(contents)
    _keep(slot, snapshot)
    return snapshot


def _keep(slot: Slot, snapshot: Snapshot) -> None:
    with _lock:
        _copies[slot] = snapshot
        _copies.move_to_end(slot)
        while len(_copies) > get_binding_settings().copies:
            _copies.popitem(last=False)


def _replace(declaration: Declaration, ticket: Ticket) -> Applied | None:
    slot = declaration.slot
    try:
        rows = declaration.load()
    except BaseException:
        with_store(lambda store: store.abandon(slot, ticket))
        raise
    applied = with_store(lambda store: store.replace(slot, ticket, rows))
    tell(slot, applied)
    reorder(declaration, applied)
    return applied


def _has_own_changes(declaration: Declaration) -> bool:
    """Return whether this thread has changes that are not committed yet."""
    connection = connections[declaration.database]
    return in_transaction(connection) and bool(connection.run_on_commit)


def _after_commit(
    declaration: Declaration, action: Callable[[Declaration], object]
) -> None:
    connection = connections[declaration.database]

    def act(outcome: Outcome) -> None:
        # A test may run the hooks inside a transaction that it rolls back.
        if outcome != "committed" or in_transaction(connection):
            return
        if do_now(declaration.database):
            work()
        else:
            group = declaration.group()
            do_later((action, group, declaration), [group], work)

    def work() -> None:
        with suppress(Unreachable):
            action(declaration)

    wait([connection], within(current(), act))


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting in {"TURBO", "CHANNEL_LAYERS", "DATABASES"}:
        forget_copies()


setting_changed.connect(_forget, dispatch_uid="turbo.bindings.reading")
