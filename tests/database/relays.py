"""The relays of several processes, in the threads of one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from django.db import connections

from tests.support.servers import PATIENCE
from turbo.database.outbox.tracking import Tracker

T = TypeVar("T")

RELAYS = 3


def at_once(look: Callable[[Tracker], T]) -> list[T]:
    """Let three relays look at the same time; return what each of them answers."""
    start = threading.Barrier(RELAYS)

    def work() -> T:
        tracker = Tracker()  # as another process has
        start.wait(PATIENCE)
        try:
            answer = look(tracker)
            assert tracker.finish(PATIENCE)
            return answer
        finally:
            tracker.stop()
            connections.close_all()

    with ThreadPoolExecutor(RELAYS) as executor:
        relays = [executor.submit(work) for _ in range(RELAYS)]
        return [relay.result() for relay in relays]
