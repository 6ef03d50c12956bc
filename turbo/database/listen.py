"""
The thread of a process that waits for messages of the channel layer.

PostgreSQL notifies it of them. A connection that listens may be dead, or a pooler may
have given it to somebody else, so the thread makes sure that it hears a notification of
its own, and looks for messages every second anyway. If it finds some of which it was
not notified, it connects anew. Where nothing is heard, and in other databases, it looks
``poll`` seconds after it has looked before: this reads one row.

While the database cannot be read, it may crash and take the last messages with it. Then
their numbers are given again, so nobody can tell whether all of them have arrived.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import closing
from typing import Any

from django.db import connections

from turbo.database.messages import CHANNEL, LayerRow, Messages
from turbo.database.thread import explained, make_connection, own_connection
from turbo.runtime.backoff import Backoff, OutageLog
from turbo.runtime.forks import Lock, after_in_child, delaying_forks

__all__ = ["LayerListener"]

logger = logging.getLogger("turbo.database")

#: Seconds after which it is looked for messages of which nobody has told.
QUIET = 1.0
#: Seconds until a notification of our own must have come.
PATIENCE = 2.0
#: Times in a row that messages may be found of which nobody has told.
UNTOLD = 2


class Untold(ConnectionError):
    """A connection that listens does not hear."""


class LayerListener:
    """
    The thread runs as long as messages are ``wanted()``.

    ``receive`` gets the messages, in order and without a hole. ``lose`` gets an error
    when messages are gone that it did not get.
    """

    def __init__(
        self,
        alias: str,
        messages: Messages,
        *,
        poll: float,
        listen: bool,
        wanted: Callable[[], object],
        receive: Callable[[Sequence[LayerRow]], None],
        lose: Callable[[Exception], None],
    ) -> None:
        self._alias = alias
        self._messages = messages
        self._poll = poll
        self._listens = listen
        self._wanted = wanted
        self._receive = receive
        self._lose = lose
        self._lock = Lock()  # owns _thread and _asked
        self._outage = OutageLog(
            logger,
            down="The channel layer cannot read the database: %(type)s: %(error)s",
            up="The channel layer reads the database again.",
        )
        self._thread: threading.Thread | None = None
        self._renew()
        after_in_child(self._renew)

    def start(self) -> Future[None]:
        """Return what is done when all later messages will be received."""
        started: Future[None] = Future()
        with self._lock:
            if self._seen is not None and not self._outage.is_down:
                started.set_result(None)
                return started
            # Asked for before the thread looks whether it is wanted.
            self._asked.append(started)
            if self._thread is None:
                thread = threading.Thread(
                    target=self._main, name="turbo-listener", daemon=True
                )
                thread.start()  # may fail; the next one who asks tries again
                self._thread = thread
        return started

    def wake(self) -> None:
        """Let the thread look for messages now, if it is not told of them."""
        self._awake.set()

    def _renew(self) -> None:
        self._thread = None
        self._asked: list[Future[None]] = []
        self._awake = threading.Event()
        self._seen: int | None = None
        self._untold = 0
        #: Whether notifications are heard; ``None`` if this connection has not tried.
        self._hears: bool | None = None
        self._is_unsure = False

    def _main(self) -> None:
        connection = own_connection(self._alias)
        backoff = Backoff()
        is_told = True
        while not self._ends():
            try:
                with delaying_forks():
                    has_found = self._read_all() if self._hears and is_told else False
                    has_found = has_found or self._read()
                self._count_untold(has_found, is_told=is_told)
                self._answer()
                backoff.reset()
                is_told = self._listen() if self._hears is None else self._wait()
            except Exception as caught:
                with delaying_forks():
                    connection.close()
                    error = explained(caught, self._alias)
                self._hears = None
                self._is_unsure |= not isinstance(caught, Untold)
                self._outage.down(error)
                self._answer(error)
                time.sleep(backoff.fail())
        with delaying_forks():
            connection.close()

    def _ends(self) -> bool:
        with self._lock:
            if self._wanted() or self._asked:
                return False
            self._renew()
            return True

    def _answer(self, error: BaseException | None = None) -> None:
        with self._lock:
            asked, self._asked = self._asked, []
        for started in asked:
            if not started.set_running_or_notify_cancel():
                continue
            if error is None:
                started.set_result(None)
            else:
                started.set_exception(error)

    # --- Looking for messages

    def _read(self) -> bool:
        """Pass on what is new, and return whether there was anything."""
        tip = self._messages.tip()
        self._outage.up()
        if self._seen is None:
            self._seen = tip
        elif self._is_unsure or tip < self._seen:
            self._has_lost(min(tip, self._seen))
        self._is_unsure = False
        if tip == self._seen:
            return False
        if not self._read_all():
            self._has_lost(tip)
        return True

    def _read_all(self) -> bool:
        """Pass on what there is, and return whether there was anything."""
        assert self._seen is not None
        has_found = False
        while rows := self._messages.after(self._seen):
            if rows[0].number > self._seen + 1:
                self._has_lost(rows[0].number - 1)
            has_found, self._seen = True, rows[-1].number
            self._receive(rows)
        return has_found

    def _has_lost(self, seen: int) -> None:
        error = f"the last one that was seen has the number {self._seen}"
        self._lose(ConnectionError(f"Messages of the channel layer are gone: {error}."))
        self._seen = seen

    # --- Waiting for them

    def _wait(self) -> bool:
        """Return whether it was told of a message, as far as anything tells."""
        if self._hears:
            return self._is_told(QUIET)
        self._awake.wait(self._poll)
        self._awake.clear()
        return True

    def _count_untold(self, has_found: bool, *, is_told: bool) -> None:
        if not has_found or is_told:
            self._untold = 0 if is_told else self._untold
            return
        self._untold += 1
        if self._untold >= UNTOLD:
            self._untold = 0
            raise Untold("PostgreSQL does not notify any more.")

    def _is_told(self, seconds: float, payload: str | None = None) -> bool:
        """Return whether a notification comes, or one with a given payload."""
        end = time.monotonic() + seconds
        connection: Any = connections[self._alias].connection
        while (left := end - time.monotonic()) > 0:
            told = list(connection.notifies(timeout=left, stop_after=1))
            told += connection.notifies(timeout=0)  # all of them are told by one look
            if any(payload in (None, notified.payload) for notified in told):
                return True
        return False

    def _listen(self) -> bool:
        """Ask for notifications, if there are any; it has to be looked after that."""
        connection = connections[self._alias]
        if not self._listens or connection.vendor != "postgresql":
            self._hears = False
            return True
        with connection.cursor() as cursor:
            cursor.execute(f"LISTEN {CHANNEL}")
        self._notify(word := secrets.token_hex(8))
        self._hears = self._is_told(PATIENCE, word)
        if not self._hears:
            logger.info(
                "No notification of PostgreSQL arrives, perhaps because of a pooler: "
                "the channel layer looks for messages every %g s.",
                self._poll,
            )
        return True

    def _notify(self, word: str) -> None:
        """Send a notification by another connection, which a pooler keeps apart."""
        with (
            closing(make_connection(self._alias)) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, word])
