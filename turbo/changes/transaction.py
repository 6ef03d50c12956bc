"""
What waits for a transaction: the records of changes, and the actions of callers.

Django keeps, drops and runs the hooks of ``on_commit``, so each record and each action
has a hook there, which only Django holds; those that follow each other share one. As
long as the hook exists, the transaction may still commit it; when a savepoint or the
transaction is rolled back, the hook goes. The journal of the transaction knows the
hooks by weak references.

At the commit the hooks run one by one, between those of the application. An object is
reported by the hook of its first record, with all records of it that still exist then.

Right before the commit, :func:`write_before_commit` lets an outbox write what waits
into the transaction itself.
"""

from __future__ import annotations

import logging
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial, wraps
from itertools import chain
from typing import Any, Literal, Protocol, TypeAlias

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from turbo.changes.records import Key, Record, report
from turbo.runtime import tracing
from turbo.runtime.context import is_immediate, report_scope

__all__ = [
    "Outcome",
    "WaitingAction",
    "after_transactions",
    "enter",
    "in_transaction",
    "open_transactions",
    "wait",
    "write_before_commit",
]

logger = logging.getLogger(__name__)

Hook: TypeAlias = Callable[[], None]

#: What became of the transactions of several databases for which an action waited.
Outcome: TypeAlias = Literal["committed", "partly committed", "rolled back"]

_ATTRIBUTE = "_turbo_journal"


class Written(Protocol):
    """What was written into a transaction right before its commit."""

    def committed(self) -> None:
        """Note that the transaction has been committed."""

    def settled(self) -> None:
        """Note that all watchers have been called, and all messages handed over."""


#: Writes what waits into the transaction of a connection, if anything is to be written.
Writer: TypeAlias = (
    "Callable[[BaseDatabaseWrapper, Sequence[Record | WaitingAction]], Written | None]"
)

_writer: Writer | None = None


def write_before_commit(writer: Writer | None) -> None:
    """
    Call ``writer`` before each commit from now on.

    It must raise no exception, unless nothing is left to be committed.
    """
    global _writer
    _writer = writer


class WaitingAction:
    """A function that waits until all of some transactions have ended."""

    __slots__ = ("_open", "_outcomes", "act", "is_of_several")

    def __init__(self, act: Callable[[Outcome], None], count: int) -> None:
        self.act = act
        #: Whether it waits for the transactions of several databases.
        self.is_of_several = count > 1
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
            self.act(outcome)
        except Exception:
            logger.exception("%r failed after the end of a transaction.", self.act)


class _Part(weakref.ref[Hook]):
    """
    A weak reference to a hook, with what it settles.

    These are records and actions that followed each other in the same savepoints, with
    no hook of the application between them.
    """

    __slots__ = ("contents",)

    #: The records and actions that still wait.
    contents: deque[Record | WaitingAction]


def _drop(part: weakref.ref[Hook]) -> None:
    """Forget the records of a hook that Django has dropped, and settle its actions."""
    assert isinstance(part, _Part)
    with report_scope():
        while part.contents:
            content = part.contents.popleft()
            if isinstance(content, WaitingAction):
                content.settle("rolled back")


class _Journal:
    """
    What waits for one transaction, in order.

    The connection has a weak reference to it and the hooks have strong ones, so it is
    dropped with them. It belongs to the thread that uses the connection. There are
    several while a hook has a transaction of its own.
    """

    def __init__(
        self, connection: BaseDatabaseWrapper, earlier: _Journal | None
    ) -> None:
        self.is_committed = False
        self.written: Written | None = None
        #: Whether the application itself commits, after set_autocommit(False).
        self.by_hand = not (connection.in_atomic_block and connection.commit_on_exit)
        blocks: list[Any] = connection.atomic_blocks
        #: Whether the hooks may be run before the end of the transaction.
        self._is_of_test = any(block._from_testcase for block in blocks)
        #: The connection of the driver; when it is closed, the transaction is lost.
        self.session: object = connection.connection
        #: The transaction whose hooks are being run, if this one began in a hook.
        self._earlier = earlier
        self._parts: list[_Part] = []
        #: The last record of each object; those before it are linked to it.
        self._records: dict[Key, Record] = {}

    def hold(
        self, connection: BaseDatabaseWrapper, content: Record | WaitingAction
    ) -> None:
        """Keep a record or an action until the connection's transaction ends."""
        part = self._last_part(connection) or self._new_part(connection)
        part.contents.append(content)
        if isinstance(content, Record):
            content.part = part
            content.earlier = self._records.get(content.key)
            self._records[content.key] = content

    def _last_part(self, connection: BaseDatabaseWrapper) -> _Part | None:
        """Return the last part, if nothing has happened since that ends it."""
        hooks: list[Any] = connection.run_on_commit
        if self._is_of_test or not (self._parts and hooks):
            return None
        part = self._parts[-1]
        savepoints, hook, _ = hooks[-1]
        same = hook is part() and savepoints == set(connection.savepoint_ids)
        return part if same else None

    def _new_part(self, connection: BaseDatabaseWrapper) -> _Part:
        def hook() -> None:
            self.settle(part)

        part = _Part(hook, _drop)
        part.contents = deque()
        self._parts.append(part)
        if connection.in_atomic_block:
            connection.on_commit(hook, robust=True)
        else:
            # After set_autocommit(False), on_commit() raises an exception, and the save
            # would fail.
            hooks: list[Any] = connection.run_on_commit
            hooks.append((set(), hook, True))
        return part

    def contents(self) -> list[Record | WaitingAction]:
        """Return what a commit would settle now, in order."""
        parts = [part.contents for part in self._parts if part() is not None]
        return list(chain.from_iterable(parts))

    def hooks(self) -> set[Hook]:
        """Return the hooks that exist."""
        return {hook for part in self._parts if (hook := part()) is not None}

    def settle(self, part: _Part) -> None:
        """Report the objects of a part's records, and settle its actions."""
        with report_scope():
            while part.contents:
                content = part.contents.popleft()
                if isinstance(content, Record):
                    report(self.take(content.key, content))
                else:
                    content.settle("committed")

    def settle_all(self) -> None:
        """Settle everything that still exists, even if a watcher ends its thread."""
        failure: BaseException | None = None
        for part in self._parts:
            while part() is not None and part.contents:
                try:
                    self.settle(part)
                except BaseException as error:
                    failure = failure or error
        if failure is not None:
            raise failure

    def finish(self) -> None:
        """Note that everything has been settled."""
        written, self.written = self.written, None
        if written is not None:
            written.settled()

    def take(self, key: Key, first: Record | None = None) -> list[Record]:
        """
        Return the records of an object that exist and have not been reported.

        In a test that runs the hooks of a transaction before its end, those before
        ``first`` may belong to what the test does not look at.
        """
        records = self._earlier.take(key) if self._earlier else []
        end = None if first is None or self.is_committed else first.earlier
        own = _linked(self._records.get(key), end)
        if first is not None and first not in own:
            return records  # it has been reported
        if end is None:
            self._records.pop(key, None)
        else:
            self._records[key] = end
        return [*records, *(r for r in own if r.part() is not None)]


def _linked(last: Record | None, end: Record | None) -> list[Record]:
    """Return the records of an object from the one after ``end`` to the last one."""
    found = []
    while last is not None and last is not end:
        found.append(last)
        last = last.earlier
    return found[::-1]


def enter(connection: BaseDatabaseWrapper, record: Record) -> None:
    """Report ``record`` when the connection's transaction commits."""
    if in_transaction(connection):
        _open_journal(connection).hold(connection, record)
        return
    journal = _journal(connection)
    # A hook changes an object of which later hooks have yet to report a change.
    waiting = journal.take(record.key) if journal and journal.is_committed else []
    if tracing.tracer is not None:
        tracing.tracer.committed()
    with report_scope():
        report([*waiting, record])


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
    action = WaitingAction(act, len(transactions))
    for connection in transactions:
        _open_journal(connection).hold(connection, action)


def open_transactions() -> list[BaseDatabaseWrapper]:
    """
    Return the connections whose transaction an action of this thread waits for.

    Nothing waits in a hook of a watcher, or in :func:`turbo.immediately`.
    """
    if is_immediate():
        return []
    # What connections.all(initialized_only=True) does, at half the cost for each verb.
    made = connections._connections  # type: ignore[attr-defined]
    found = (getattr(made, alias, None) for alias in connections.settings)
    return [c for c in found if c is not None and in_transaction(c)]


def in_transaction(connection: BaseDatabaseWrapper) -> bool:
    """Return whether a transaction is open; this opens no connection."""
    if connection.in_atomic_block:
        return True
    return connection.connection is not None and not connection.autocommit


def _journal(connection: BaseDatabaseWrapper) -> _Journal | None:
    """Return the journal of the last transaction of which something still waits."""
    journals: list[weakref.ref[_Journal]] = vars(connection).get(_ATTRIBUTE, [])
    while journals and journals[-1]() is None:
        journals.pop()
    return journals[-1]() if journals else None


def _open_journal(connection: BaseDatabaseWrapper) -> _Journal:
    journal = _journal(connection)
    if journal is None or journal.is_committed:
        journal = _Journal(connection, journal)
        if _ATTRIBUTE not in vars(connection):
            vars(connection)[_ATTRIBUTE] = []
            _watch_the_end(connection)
        vars(connection)[_ATTRIBUTE].append(weakref.ref(journal))
    return journal


def _watch_the_end(connection: BaseDatabaseWrapper) -> None:
    """Learn of commits and rollbacks of this connection before Django's hooks run."""
    owner = weakref.ref(connection)  # or its sockets would wait for the collector
    names = "commit", "rollback", "set_autocommit"
    ends = {name: vars(connection).get(name) for name in names}

    def connected() -> BaseDatabaseWrapper:
        connection = owner()
        assert connection is not None
        return connection

    def end(name: str, *args: Any, **kwargs: Any) -> BaseDatabaseWrapper:
        connection = connected()
        own = ends[name] or partial(getattr(type(connection), name), connection)
        own(*args, **kwargs)
        return connection

    def commit() -> None:
        _write(connected())
        _committed(end("commit"))

    def set_autocommit(autocommit: bool, *args: Any, **kwargs: Any) -> None:
        if autocommit:
            _write_by_hand(connected())
        connection = end("set_autocommit", autocommit, *args, **kwargs)
        journal = _journal(connection)
        if not autocommit or journal is None or not journal.by_hand:
            return
        # The database has committed, or the call would have failed. When Django opens
        # a new connection, it drops what waited for the one before.
        if journal.session is connection.connection:
            _committed(connection)

    def rollback() -> None:
        connection = end("rollback")
        journal = _journal(connection)
        if journal is not None and not journal.is_committed:
            vars(connection)[_ATTRIBUTE].pop()

    vars(connection).update(
        commit=commit, rollback=rollback, set_autocommit=set_autocommit
    )


def _write(connection: BaseDatabaseWrapper) -> None:
    """Let what waits be written into the transaction that is about to commit."""
    journal = _journal(connection)
    if journal is None or journal.is_committed:
        return
    if _writer is not None and not connection.in_atomic_block:
        try:
            journal.written = _writer(connection, journal.contents())
        finally:
            # A savepoint that cannot be made leaves this on, and nobody resets it.
            connection.in_atomic_block = False


def _write_by_hand(connection: BaseDatabaseWrapper) -> None:
    """Do so before autocommit is set, which commits in most databases."""
    journal = _journal(connection)
    if journal is None or not journal.by_hand or connection.autocommit:
        return
    if connection.vendor != "postgresql":  # it refuses, and the transaction goes on
        _write(connection)


def _committed(connection: BaseDatabaseWrapper) -> None:
    journal = _journal(connection)
    if journal is None or journal.is_committed:
        return
    journal.is_committed = True
    if tracing.tracer is not None:
        tracing.tracer.committed()
    if journal.written is not None:
        journal.written.committed()
    if journal.by_hand:
        try:
            _settle_now(connection, journal)
        finally:
            journal.finish()
        return
    # Django drops the later hooks when a hook raises an exception. After a robust hook,
    # this is so for exceptions such as asyncio.CancelledError.
    hooks: list[Any] = connection.run_on_commit
    hooks[:] = [
        (savepoints, _guard(hook, journal, robust=robust), robust)
        for savepoints, hook, robust in hooks
    ]
    if journal.written is not None:
        hooks.append((set(), journal.finish, True))


def _guard(hook: Hook, journal: _Journal, *, robust: bool) -> Hook:
    @wraps(hook)
    def guarded() -> None:
        try:
            hook()
        except BaseException as error:
            if not (robust and isinstance(error, Exception)):
                try:
                    journal.settle_all()
                finally:
                    journal.finish()
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
    is_on = connection.autocommit
    connection.set_autocommit(True)
    try:
        journal.settle_all()
    finally:
        connection.set_autocommit(is_on)
        connection.run_on_commit = others
        connection.run_commit_hooks_on_set_autocommit_on = True
