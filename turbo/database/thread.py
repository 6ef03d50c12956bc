"""
A thread with a database connection of its own.

The log, the layer and the store must not take part in a transaction of the application,
so they do not use the connection of the thread that calls them. Their work is done in
one thread, in order.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from copy import deepcopy
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeAlias, TypeVar

from django.db import OperationalError, ProgrammingError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from turbo.database.models import LogWord
from turbo.runtime.forks import Lock, after_in_child, delaying_forks

__all__ = [
    "DatabaseThread",
    "TablesMissing",
    "explained",
    "make_connection",
    "own_connection",
]

P = ParamSpec("P")
R = TypeVar("R")

_Waiting: TypeAlias = "SimpleQueue[tuple[Callable[[], Any] | None, Future[Any]]]"

#: Options that these connections have unless the settings say something else.
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "postgresql": {  # also how libpq finds out that a server has gone
        "application_name": "turbo",
        "isolation_level": 2,  # READ COMMITTED of psycopg; the server's may be another
        "connect_timeout": 5,
        "keepalives_idle": 2,
        "keepalives_interval": 1,
        "keepalives_count": 3,
        "tcp_user_timeout": 5_000,
    },
    "sqlite": {
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        "timeout": 20,
    },
}
#: Options for the application's connections that are no good for these.
DROPPED_OPTIONS = ("pool", "isolation_level", "transaction_mode")


#: Seconds after which it is looked whether the server has ended the connection.
IDLE = 5.0
#: What PostgreSQL and MySQL say to one of two transactions that wait for each other.
DEADLOCK = ("40P01", (1213,))
#: The most attempts of work that is ended by a deadlock.
ATTEMPTS = 5


class TablesMissing(OperationalError):
    """The database has no tables of this app."""


class DatabaseThread:
    """
    A thread that starts when it is first used; any thread or event loop may use it.

    A daemon, unlike the threads of an executor, works until the process has ended.
    """

    def __init__(self, name: str, alias: str) -> None:
        self._name = name
        self._alias = alias
        # A process that is forked while another thread imports would wait for ever.
        if (settings := connections.settings.get(alias)) is not None:
            load_backend(settings["ENGINE"])
        self._lock = Lock()  # held while a thread is made or told to end
        self._renew()
        after_in_child(self._renew)

    def run(self, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return ``work(…)``; the caller waits."""
        return self._put(lambda: work(*args, **kwargs)).result()

    async def arun(
        self, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Return ``work(…)``; what has begun goes on if the caller is cancelled."""
        return await asyncio.wrap_future(self._put(lambda: work(*args, **kwargs)))

    async def aclose(self) -> None:
        """Close the connection and end the thread, after what waits for it."""
        if (closed := self._end()) is not None:
            await asyncio.wrap_future(closed)

    def close(self) -> None:
        """Close the connection and end the thread, after what waits for it."""
        if (closed := self._end()) is not None:
            closed.result()

    def __del__(self) -> None:
        self._end()

    def _renew(self) -> None:
        # A forked process has no threads.
        self._thread: threading.Thread | None = None
        self._waiting: _Waiting = SimpleQueue()

    def _put(self, work: Callable[[], R]) -> Future[R]:
        future: Future[R] = Future()
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(
                    target=_work,
                    args=[self._waiting, self._alias],
                    name=self._name,
                    daemon=True,
                )
                thread.start()  # may fail; the next work tries again
                self._thread = thread
            self._waiting.put((work, future))
        return future

    def _end(self) -> Future[Any] | None:
        """Let the thread end; what is put from now on gets another one."""
        with self._lock:
            if self._thread is None:
                return None
            closed: Future[Any] = Future()
            self._waiting.put((None, closed))
            self._renew()
            return closed


def own_connection(alias: str) -> BaseDatabaseWrapper:
    """Let this thread use a connection that is made for the work of this app."""
    connections[alias] = connection = make_connection(alias)
    return connection


def make_connection(alias: str) -> BaseDatabaseWrapper:
    """Return a connection that is made for the work of this app."""
    connection = connections.create_connection(alias)
    settings = connection.settings_dict = deepcopy(connection.settings_dict)
    options = settings["OPTIONS"]
    for name in DROPPED_OPTIONS:
        options.pop(name, None)
    defaults = OPTIONS.get(connection.vendor, {})
    settings["OPTIONS"] = defaults | options
    return connection


def explained(error: BaseException, alias: str) -> BaseException:
    """Return an exception that says so if the reason is that there are no tables."""
    is_about_tables = isinstance(error, ProgrammingError) or (
        isinstance(error, OperationalError) and "no such table" in str(error)
    )
    if not is_about_tables:
        return error
    try:
        tables = connections[alias].introspection.table_names()
    except Exception:  # the first one says more
        return error
    if LogWord._meta.db_table in tables:
        return error
    return TablesMissing(
        f"The database {alias!r} has no tables of turbo.database: run "
        f"'manage.py migrate --database {alias}'."
    )


def _is_alive(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the server has not ended a connection that is open."""
    return connection.connection is None or connection.is_usable()


def _done(work: Callable[[], R]) -> R:
    """Return ``work()``, which is one transaction, if need be at another attempt."""
    for _ in range(ATTEMPTS - 1):
        try:
            return work()
        except OperationalError as error:
            code = getattr(error.__cause__, "sqlstate", None) or error.args[:1]
            if code not in DEADLOCK:
                raise
    return work()


def _work(waiting: _Waiting, alias: str) -> None:
    connection: BaseDatabaseWrapper | None = None
    used = time.monotonic()
    while True:
        work, future = waiting.get()
        if not future.set_running_or_notify_cancel() and work is not None:
            continue
        try:
            with delaying_forks():
                if work is not None:
                    connection = connection or own_connection(alias)
                    if time.monotonic() - used > IDLE and not _is_alive(connection):
                        connection.close()
                elif connection is not None:
                    connection.close()
                result = work and _done(work)
        except BaseException as error:
            if connection is not None:
                with delaying_forks():
                    # It may be broken, or in a transaction; the next work connects.
                    connection.close()
                    error = explained(error, alias)
            future.set_exception(error)
        else:
            future.set_result(result)
            del result
        used = time.monotonic()
        if work is None:
            return
        del work, future  # or they would live until the next work comes
