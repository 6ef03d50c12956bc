"""
Counters and gauges of this process.

:func:`counters` returns the counts since the process started. The signal
:data:`counted` is sent at each count, so a metrics client needs only three lines::

    @receiver(turbo.metrics.counted)
    def to_statsd(name, value, **kwargs):
        statsd.incr(f"turbo.{name}", value)

Messages to many subscribers are counted once, with the number of subscribers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.dispatch import Signal

from turbo.runtime.forks import Lock, after_in_child

__all__ = ["GAUGES", "NAMES", "count", "counted", "counters", "gauge"]

#: The counters and their meanings.
NAMES = {
    "published": "messages handed to the channel layer",
    "delivered": "messages written to subscribers, counted per subscriber",
    "replayed": "messages sent from the replay log to a subscriber that missed them",
    "repaired": "messages that the layer lost and the replay log restored",
    "gaps": "times that a subscriber was told to refresh its page",
    "granted": "subscriptions allowed",
    "refused": "subscriptions denied",
    "revoked": "subscriptions ended by the server",
    "limited": "times that a client asked for more than its budget",
    "bad_frames": "frames from clients that were not valid",
    "unreadable": "messages between processes that could not be read and were dropped",
    "closed_slow": "connections closed because they did not read",
    "dropped": "messages that were dropped before they reached the layer",
    "failed": "hooks, templates and publications that raised an exception",
    "not_durable": "transactions that could not be written into the outbox",
    "told_again": "transactions of ended processes that were told from the outbox",
    "captured": "changes without a signal that were told from notes of the database",
    "set_aside": "transactions in the outbox that could not be told",
}

#: The gauges and their meanings.
GAUGES = {
    "queue": "broadcasts that wait to be published",
    "outbox": "transactions of this process in the outbox",
    "connections": "clients that are connected to this process",
    "subscribers": "subscriptions that this process serves",
    "streams": "streams with subscriptions in this process",
}

#: Sent with ``name`` and ``value`` at each count; some counts also have details, which
#: the inspector shows.
counted = Signal()

_lock = Lock()  # owns _values
_values: dict[str, int] = dict.fromkeys(NAMES, 0)
_gauges: dict[str, Callable[[], int]] = {}


def count(name: str, value: int = 1, **details: Any) -> None:
    """Add ``value`` to the counter ``name``; ``details`` go with the signal."""
    with _lock:
        _values[name] += value
    if counted.receivers:
        counted.send_robust(sender=None, name=name, value=value, **details)


@after_in_child
def _after_fork() -> None:
    for name in _values:  # the parent counted these, and reports them itself
        _values[name] = 0


def gauge(name: str, read: Callable[[], int]) -> None:
    """Let :func:`counters` report what ``read()`` returns as ``name``."""
    _gauges[name] = read


def counters() -> dict[str, int]:
    """
    Return all counters and gauges of this process.

    The gauges are ``queue`` (broadcasts that wait to be published), ``outbox``, and the
    ``connections``, ``subscribers`` and ``streams`` that this process serves.
    """
    with _lock:
        values = dict(_values)
    idle = dict.fromkeys(GAUGES, 0)  # for gauges that are not set
    return values | idle | {name: read() for name, read in _gauges.items()}
