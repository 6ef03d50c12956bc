"""The threads that look into databases again and again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from django.db import connections

from turbo.database.thread import own_connection
from turbo.runtime.forks import delaying_forks

__all__ = ["Rounds"]

#: Seconds after which a database is looked into again that could not be.
LATER = 10.0


class Rounds:
    """
    A thread that calls ``look(alias)`` for each database, every ``interval`` seconds.

    ``failed`` gets the exceptions. With ``keeps`` the connections stay open meanwhile.
    A database whose name has changed since is another one, as at the end of a test.
    """

    def __init__(
        self,
        name: str,
        *,
        interval: float,
        aliases: Callable[[], Iterable[str]],
        look: Callable[[str], object],
        failed: Callable[[str, Exception], object],
        keeps: bool = False,
    ) -> None:
        self._interval = interval
        self._aliases = aliases
        self._look = look
        self._failed = failed
        self._keeps = keeps
        self._names: dict[str, object] = {}
        self._later: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let the thread end, and wait for it."""
        self._stopping.set()
        self._thread.join()

    def _main(self) -> None:
        try:
            while True:
                for alias in self._aliases():
                    self._visit(alias)
                if self._stopping.wait(self._interval):
                    return
        finally:
            connections.close_all()

    def _visit(self, alias: str) -> None:
        name = connections.settings[alias]["NAME"]
        is_new = alias not in self._names
        if self._names.setdefault(alias, name) != name:
            return
        if time.monotonic() < self._later.get(alias, 0.0):
            return
        with delaying_forks():
            if is_new:
                own_connection(alias)
            try:
                self._look(alias)
            except Exception as error:
                self._later[alias] = time.monotonic() + LATER
                self._failed(alias, error)
                connections[alias].close()
            if not self._keeps:
                connections[alias].close()
