"""
Numbers that one can watch.

:func:`counters` returns what this process has counted since it started, and the signal
:data:`counted` is sent at each count, so that a metrics client is three lines::

    @receiver(turbo.metrics.counted)
    def to_statsd(name, value, **kwargs):
        statsd.incr(f"turbo.{name}", value)

A fan-out counts once, with the number of subscribers that it reached.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

from django.dispatch import Signal

__all__ = ["GAUGES", "NAMES", "count", "counted", "counters", "gauge"]

#: Everything that is counted, with what it means.
NAMES = {
    "published": "messages handed to the channel layer",
    "delivered": "messages written to subscribers, counted per subscriber",
    "replayed": "messages sent from the replay log to one that asked for them",
    "repaired": "messages that the layer lost and the replay log restored",
    "gaps": "times that a subscriber was told to refresh its page",
    "granted": "subscriptions allowed",
    "refused": "subscriptions denied",
    "revoked": "subscriptions ended by the server",
    "limited": "times that a client asked for more than its budget",
    "bad_frames": "frames from clients that made no sense",
    "unreadable": "messages between processes that were dropped, not understood",
    "closed_slow": "connections closed because they did not read",
    "dropped": "messages that were dropped before they reached the layer",
    "failed": "hooks, templates and publications that raised",
}

#: What :func:`counters` reports besides, as it stands at the moment.
GAUGES = {
    "queue": "broadcasts that wait to be published",
    "subscribers": "subscriptions that this process serves",
    "streams": "streams that they belong to",
}

#: Sent with ``name`` and ``value`` whenever something is counted; some counts come with
#: details, for the inspector and others who look closer.
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


def gauge(name: str, read: Callable[[], int]) -> None:
    """Let :func:`counters` report what ``read()`` returns as ``name``."""
    _gauges[name] = read


def counters() -> dict[str, int]:
    """
    Return all counters and gauges of this process.

    The gauges are ``queue`` (broadcasts that wait to be published), and the
    ``subscribers`` and ``streams`` that this process serves.
    """
    with _lock:
        values = dict(_values)
    idle = dict.fromkeys(GAUGES, 0)  # who serves or broadcasts nothing reads nothing
    return values | idle | {name: read() for name, read in _gauges.items()}
