"""
What waits for a transaction: the records of changes, and the actions of callers.

Django keeps, drops and runs the hooks of ``on_commit``, so each record and each action
has a hook there, which only Django holds. As long as the hook exists, the transaction
may still commit it; when a savepoint or the transaction is rolled back, the hook goes.
The journal of the transaction knows the hooks by weak references.

At the commit the hooks run one by one, between those of the application. An object is
reported by the hook of its first record, with all records of it that still exist then.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, NamedTuple, TypeAlias

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from turbo.changes.change import ModelChange
from turbo.changes.watchlist import Watch, watchlist
from turbo.runtime.context import immediately, is_immediate
from turbo.typing import ChangeAction

__all__ = [
    "Heard",
    "Outcome",
    "Record",
    "after_transactions",
    "enter",
    "in_transaction",
    "open_transactions",
    "wait",
]

logger = logging.getLogger(__name__)

Key: TypeAlias = tuple[type[Model], Any]
Hook: TypeAlias = Callable[[], None]

#: What became of the transactions of several databases for which an action waited.
Outcome: TypeAlias = Literal["committed", "partly committed", "rolled back"]

_ATTRIBUTE = "_turbo_journal"


class Heard(NamedTuple):
    """The values that one watch keeps from one signal."""

    mark: Any
    before: Any


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Record:
    """One signal about one row, for the watches that existed then."""

    model: type[Model]
    pk: Any
    action: ChangeAction
    using: str
    update_fields: frozenset[str] | None
    instance: Model
    heard: Mapping[Watch, Heard]

    @property
    def key(self) -> Key:
        """Return the key that all records of one object share."""
        return self.model, self.pk


class _Action:
    """A function that waits until all of some transactions have ended."""

    __slots__ = ("_act", "_open", "_outcomes")

    def __init__(self, act: Callable[[Outcome], None], count: int) -> None:
        self._act = act
        self._open = count
        self._outcomes: set[Outcome] = set()

    def settle(self, outcome: Outcome) -> None:
        """Note the end of one transaction; after the last one, call the function."""
        self._outcomes.add(outcome)
        self._open -= 1
        if self._open:
            return
        if len(self._outcomes) > 1:
            outcome = "partly committed"
        try:
            with immediately():
                self._act(outcome)
        except Exception:
            logger.exception("%r failed after the end of a transaction.", self._act)


class _Entry(weakref.ref[Hook]):
    """A weak reference to the hook of a record or an action."""

    __slots__ = ("content", "is_done")

    content: Record | _Action
    is_done: bool


def _forget(entry: weakref.ref[Hook]) -> None:
    """Django has dropped a hook."""
    assert isinstance(entry, _Entry)
    if not entry.is_done and isinstance(entry.content, _Action):
        entry.is_done = True
        entry.content.settle("rolled back")


class _Journal:
    """
    What waits for one transaction, in order.

    The connection has a weak reference to it and the hooks have strong ones, so it is
    dropped with them. It belongs to the thread that uses the connection.
    """

    def __init__(self, earlier: _Journal | None, *, by_hand: bool) -> None:
        self.is_committed = False
        #: Whether the application itself commits, after set_autocommit(False).
        self.by_hand = by_hand
        #: The transaction whose hooks are being run, if this one began in a hook.
        self._earlier = earlier
        self._entries: list[_Entry] = []
        #: The records that have not been reported, by object.
        self._records: dict[Key, list[_Entry]] = {}

    def add(self, content: Record | _Action) -> Hook:
        """Return a new hook for a record or an action."""

        def hook() -> None:
            self.settle(entry)

        entry = _Entry(hook, _forget)
        entry.content, entry.is_done = content, False
        self._entries.append(entry)
        if isinstance(content, Record):
            self._records.setdefault(content.key, []).append(entry)
        return hook

    def hooks(self) -> set[Hook]:
        """Return the hooks that exist."""
        return {hook for entry in self._entries if (hook := entry()) is not None}

    def settle(self, entry: _Entry) -> None:
        """Report the object of a record, or end the waiting of an action; only once."""
        if entry.is_done:
            return
        if isinstance(entry.content, Record):
            _tell(self.take(entry.content.key, entry))
        else:
            entry.is_done = True
            entry.content.settle("committed")

    def settle_all(self) -> None:
        """Settle everything that still exists."""
        for entry in self._entries:
            if entry() is not None:
                self.settle(entry)

    def take(self, key: Key, first: _Entry | None = None) -> list[Record]:
        """
        Return the records of an object that exist and have not been reported.

        In a test that runs the hooks of a transaction before its end, those before
        ``first`` may belong to what the test does not look at.
        """
        records = self._earlier.take(key) if self._earlier else []
        entries = self._records.pop(key, [])
        if first is not None and not self.is_committed:
            place = entries.index(first)
            self._records[key], entries = entries[:place], entries[place:]
        for entry in entries:
            entry.is_done = True
            if entry() is not None:
                assert isinstance(entry.content, Record)
                records.append(entry.content)
        return records


def enter(connection: BaseDatabaseWrapper, record: Record) -> None:
    """Report ``record`` when the connection's transaction commits."""
    if in_transaction(connection):
        _hold(connection, record)
        return
    journal = _journal(connection)
    # A hook changes an object of which later hooks have yet to report a change.
    waiting = journal.take(record.key) if journal and journal.is_committed else []
    _tell([*waiting, record])


def after_transactions(act: Callable[[Outcome], None]) -> None:
    """
    Call ``act`` with the outcome of the transactions that are open in this thread.

    Without any, and in :func:`turbo.immediately`, it is called now, as if committed.
    """
    if transactions := open_transactions():
        wait(transactions, act)
    else:
        act("committed")


def wait(
    transactions: Sequence[BaseDatabaseWrapper], act: Callable[[Outcome], None]
) -> None:
    """Call ``act`` with the outcome when all of the ``transactions`` have ended."""
    action = _Action(act, len(transactions))
    for connection in transactions:
        _hold(connection, action)


def open_transactions() -> list[BaseDatabaseWrapper]:
    """
    Return the connections whose transaction an action of this thread waits for.

    Nothing waits in a hook of a watcher, or in :func:`turbo.immediately`.
    """
    if is_immediate():
        return []
    return [c for c in connections.all(initialized_only=True) if in_transaction(c)]


def in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a transaction is open; this opens no connection."""
    if connection.in_atomic_block:
        return True
    return connection.connection is not None and not connection.autocommit


def _hold(connection: BaseDatabaseWrapper, content: Record | _Action) -> None:
    hook = _open_journal(connection).add(content)
    if connection.in_atomic_block:
        connection.on_commit(hook, robust=True)
    else:
        # After set_autocommit(False), on_commit() raises an exception, and the save
        # would fail.
        hooks: list[Any] = connection.run_on_commit
        hooks.append((set(), hook, True))


def _journal(connection: BaseDatabaseWrapper) -> _Journal | None:
    held: weakref.ref[_Journal] | None = vars(connection).get(_ATTRIBUTE)
    return None if held is None else held()


def _open_journal(connection: BaseDatabaseWrapper) -> _Journal:
    journal = _journal(connection)
    if journal is None or journal.is_committed:
        by_hand = not (connection.in_atomic_block and connection.commit_on_exit)
        journal = _Journal(journal, by_hand=by_hand)
        if _ATTRIBUTE not in vars(connection):
            _watch_the_end(connection)
        vars(connection)[_ATTRIBUTE] = weakref.ref(journal)
    return journal


def _watch_the_end(connection: BaseDatabaseWrapper) -> None:
    """Learn of commits and rollbacks of this connection before Django's hooks run."""
    owner = weakref.ref(connection)  # or its sockets would wait for the collector
    ends = {name: vars(connection).get(name) for name in ("commit", "rollback")}

    def end(name: str) -> BaseDatabaseWrapper:
        connection = owner()
        assert connection is not None
        own = ends[name]
        own() if own else getattr(type(connection), name)(connection)
        return connection

    def commit() -> None:
        _committed(end("commit"))

    def rollback() -> None:
        vars(end("rollback"))[_ATTRIBUTE] = None

    vars(connection).update(commit=commit, rollback=rollback)


def _committed(connection: BaseDatabaseWrapper) -> None:
    journal = _journal(connection)
    if journal is None or journal.is_committed:
        return
    journal.is_committed = True
    if journal.by_hand:
        _settle_now(connection, journal)
        return
    # Django drops the later hooks when a hook of the application raises an exception.
    hooks: list[Any] = connection.run_on_commit
    for place, (savepoints, hook, robust) in enumerate(hooks):
        if not robust:
            hooks[place] = (savepoints, _guard(hook, journal), robust)


def _guard(hook: Hook, journal: _Journal) -> Hook:
    @wraps(hook)
    def guarded() -> None:
        try:
            hook()
        except BaseException:
            journal.settle_all()
            raise

    return guarded


def _settle_now(connection: BaseDatabaseWrapper, journal: _Journal) -> None:
    """
    Settle everything after a commit by hand; Django would wait for autocommit.

    Autocommit is on meanwhile, as it is when Django runs hooks, so that the queries of
    watchers do not open a transaction.
    """
    own = journal.hooks()
    others: list[Any] = [h for h in connection.run_on_commit if h[1] not in own]
    connection.run_on_commit = []
    connection.set_autocommit(True)
    journal.settle_all()
    connection.set_autocommit(False)
    connection.run_on_commit = others
    connection.run_commit_hooks_on_set_autocommit_on = True


def _tell(records: Sequence[Record]) -> None:
    """Call the watches that existed when one of the object's records was made."""
    for watch in dict.fromkeys(watch for record in records for watch in record.heard):
        if watch not in watchlist:
            continue
        try:
            change = _merge(watch, [r for r in records if watch in r.heard])
            if change is not None:
                with immediately():
                    watch.callback(change)
        except Exception:
            last = records[-1]
            logger.exception(
                "The %s of %s %r was committed, but a watcher failed to handle it.",
                last.action,
                last.model._meta.label,
                last.pk,
            )


def _merge(watch: Watch, records: Sequence[Record]) -> ModelChange | None:
    """Return one change that combines an object's records, or ``None``."""
    first, last = records[0], records[-1]
    existed, exists = first.action != "create", last.action != "delete"
    if not existed and not exists:
        return None
    action: ChangeAction = "delete" if not exists else "update" if existed else "create"
    befores = (r.heard[watch].before for r in records)
    return ModelChange(
        model=last.model,
        instance=watch.form(last.instance, last.model, stored=exists),
        pk=last.pk,
        action=action,
        using=last.using,
        update_fields=_merge_fields(records) if action == "update" else None,
        mark=last.heard[watch].mark,
        before=next((b for b in befores if b is not None), None) if existed else None,
    )


def _merge_fields(records: Sequence[Record]) -> frozenset[str] | None:
    """Return the names of all changed fields, or ``None`` if any may have changed."""
    names: set[str] = set()
    for record in records:
        if record.action != "update" or record.update_fields is None:
            return None
        names |= record.update_fields
    return frozenset(names)
