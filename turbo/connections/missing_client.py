"""
A warning, in development, about a page that has streams and does not subscribe to them.

The template may lack ``{% include "turbo/head.html" %}``, or the browser may not load
the scripts. Then nothing happens, and nothing else says so.

Only pages count that a browser shows as a document; the header ``Sec-Fetch-Dest`` says
so. Other programs, test clients, prefetches and Turbo's own requests have another value
or none. The process must serve the WebSocket as well, so WSGI servers are left out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from threading import Timer

from django.conf import settings
from django.http import HttpRequest

from turbo.runtime.forks import Lock

__all__ = ["Pages", "expect_client", "found_client"]

logger = logging.getLogger("turbo.consumers")

#: Seconds that a browser has to subscribe.
DELAY = 30.0
#: The most names that are remembered.
MOST = 1_000


def _start_timer(seconds: float, callback: Callable[[], None]) -> None:
    timer = Timer(seconds, callback)
    timer.daemon = True
    timer.start()


class Pages:
    """The pages whose browsers have not subscribed yet, with one timer for all."""

    def __init__(
        self,
        start_timer: Callable[[float, Callable[[], None]], None] = _start_timer,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start_timer = start_timer
        self._clock = clock
        self._lock = Lock()  # held while the following change
        #: The signed names, each with the time and the path of its page.
        self._names: dict[str, tuple[float, str]] = {}
        self._is_timed = False
        self._has_warned = False

    def add(self, signed: str, path: str) -> None:
        """Expect a subscription to a name."""
        with self._lock:
            if not self._has_warned and len(self._names) < MOST:
                self._names[signed] = self._clock(), path
                self._time()

    def remove(self, signed: Iterable[str]) -> None:
        """Expect nothing more from the pages that have subscribed to a name."""
        if not self._names:
            return
        with self._lock:
            found = {self._names[name][1] for name in signed if name in self._names}
            self._names = {n: p for n, p in self._names.items() if p[1] not in found}

    def report(self) -> None:
        """Warn about a page that is late, and then about no other one."""
        with self._lock:
            self._is_timed = False
            due = self._clock() - DELAY
            late = [path for added, path in self._names.values() if added <= due]
            if late:
                self._has_warned = True
                self._names = {}
            elif self._names:
                self._time()
        if late:
            logger.warning(
                "The page %s has streams, but the browser has not subscribed to them "
                'within %g s. Load the client in the <head>: {%% include "turbo/head.'
                'html" %%}. If it is there, see the console of the browser.',
                late[0],
                DELAY,
            )

    def _time(self) -> None:
        if not self._is_timed:
            self._is_timed = True
            self._start_timer(DELAY, self.report)


_pages = Pages()


def expect_client(request: HttpRequest | None, signed: str) -> None:
    """Expect the browser of a request to subscribe to a name, in development."""
    if settings.DEBUG and request is not None and hasattr(request, "scope"):
        headers = request.headers
        if headers.get("Sec-Fetch-Dest") == "document" and not any(
            name in headers for name in ("Sec-Purpose", "X-Sec-Purpose", "Purpose")
        ):
            _pages.add(signed, request.path)


def found_client(signed: Iterable[str]) -> None:
    """Note that a browser has asked for names."""
    _pages.remove(signed)
