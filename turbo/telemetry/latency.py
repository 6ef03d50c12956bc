"""The time from a commit to the sockets of this process, as a histogram."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import NamedTuple

from turbo.runtime.forks import Lock, after_in_child

__all__ = ["BOUNDS", "Latencies", "Latency", "latency"]

#: The upper bounds of the buckets, in seconds.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Latencies(NamedTuple):
    """What has been measured: how many times up to each bound and in all, and a sum."""

    counts: tuple[int, ...]
    total: int
    seconds: float


class Latency:
    """
    A histogram that any thread adds to.

    >>> latency = Latency()
    >>> latency.add(0.002)
    >>> latency.read().counts[:3], latency.read().total
    ((0, 1, 1), 1)
    """

    def __init__(self) -> None:
        self._lock = Lock()  # owns what follows
        self._counts = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        """Add a time."""
        with self._lock:
            self._counts[bisect_left(BOUNDS, seconds)] += 1
            self._seconds += seconds

    def read(self) -> Latencies:
        """Return what has been measured."""
        with self._lock:
            *counts, total = accumulate(self._counts)
            return Latencies(tuple(counts), total, self._seconds)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._counts = [0] * (len(BOUNDS) + 1)
            self._seconds = 0.0


#: The histogram of this process.
latency = Latency()


@after_in_child
def _after_fork() -> None:
    latency.clear()  # the parent measured these, and reports them itself
