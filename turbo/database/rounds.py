"""The threads that look into databases again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable

from django.db import connections

from turbo.database.thread import own_connection
from turbo.runtime.backoff import OutageLog
from turbo.runtime.failures import log_failure
from turbo.runtime.forks import Lock, after_in_child, delaying_forks

__all__ = ["Rounds"]

#: Seconds after which a database is looked into again that could not be.
LATER = 10.0


#: Seconds for which the end waits for a look, which may wait for a lock.
PATIENCE = 10.0


class Rounds:
    """
    Calls ``look(alias)`` for each database, every ``interval`` seconds, in a thread.

    An exception begins an outage, whose log ``outages(alias)`` makes; it does not if
    ``explains(alias)`` returns True, for it has then said more itself. With ``keeps``
    the connections stay open meanwhile. A database whose name has changed since is
    another one, as at the end of a test.
    """

    def __init__(
        self,
        name: str,
        *,
        interval: float,
        aliases: Callable[[], Iterable[str]],
        look: Callable[[str], object],
        outages: Callable[[str], OutageLog],
        explains: Callable[[str], bool] = lambda alias: False,
        keeps: bool = False,
    ) -> None:
        self._name = name
        self._interval = interval
        self._aliases = aliases
        self._look = look
        self._make_outage_log = outages
        self._explains = explains
        self._keeps = keeps
        self._outages: dict[str, OutageLog] = {}
        self._lock = Lock()  # held while the thread is made
        self._thread: _Thread | None = None
        after_in_child(self._after_fork)

    @property
    def is_running(self) -> bool:
        """Whether there is a thread that looks."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Look from now on; nothing happens if it looks already."""
        with self._lock:
            if not self.is_running:
                thread = _Thread(self._name, self._interval, self._go_round)
                thread.start()  # may fail; the next start tries again
                self._thread = thread

    def stop(self) -> None:
        """Stop looking, and wait for the thread to end."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()
        self._outages.clear()

    def look_into(self, alias: str) -> bool:
        """Look into a database; return whether that went well, and log it if not."""
        try:
            self._look(alias)
        except Exception as error:
            if not self._explains(alias):
                if alias not in self._outages:
                    self._outages[alias] = self._make_outage_log(alias)
                self._outages[alias].down(error)
            return False
        if alias in self._outages:
            self._outages[alias].up()
        return True

    def _go_round(self, thread: _Thread) -> None:
        for alias in self._aliases():
            name = connections.settings[alias]["NAME"]
            is_new = alias not in thread.names
            if thread.names.setdefault(alias, name) != name:
                continue
            if time.monotonic() < thread.later.get(alias, 0.0):
                continue
            with delaying_forks():
                if is_new:
                    own_connection(alias)
                is_well = self.look_into(alias)
                if is_well:
                    thread.later.pop(alias, None)
                else:  # at once with a new connection, and then only now and then
                    pause = LATER if alias in thread.later else 0.0
                    thread.later[alias] = time.monotonic() + pause
                kept = thread.names.keys() - thread.later if self._keeps else ()
                _close_all(but=kept)

    def _after_fork(self) -> None:
        self._thread = None
        self._outages.clear()


def _close_all(*, but: Collection[str]) -> None:
    """Close what hooks have opened, too: nobody else does so in this thread."""
    for connection in connections.all(initialized_only=True):
        if connection.alias not in but:
            connection.close()


class _Thread(threading.Thread):
    """Goes round until it is stopped, and knows what it has seen."""

    def __init__(
        self, name: str, interval: float, go_round: Callable[[_Thread], None]
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.names: dict[str, object] = {}
        self.later: dict[str, float] = {}
        self._interval = interval
        self._go_round = go_round
        self._stopping = threading.Event()

    def run(self) -> None:
        try:
            while True:
                try:
                    self._go_round(self)
                except Exception as error:  # in a router of the project, say
                    log_failure("Databases could not be looked into.", error)
                if self._stopping.wait(self._interval):
                    return
        finally:
            connections.close_all()

    def stop(self) -> None:
        self._stopping.set()
        self.join(PATIENCE)
