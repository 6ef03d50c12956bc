"""The report on this process, which the page and the panel show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from turbo.delivery.hub import subscribers
from turbo.inspector.access import is_in
from turbo.inspector.history import InspectorHistory
from turbo.metrics import GAUGES, NAMES, counters
from turbo.runtime.namespaces import current, split
from turbo.streams.registry import stream_classes
from turbo.streams.stream import Stream

__all__ = ["report"]


def report(history: InspectorHistory) -> dict[str, Any]:
    """
    Return the context of ``turbo/inspector/report.html``.

    It holds only texts, numbers, lists and dicts: the debug toolbar stores it as JSON.
    """
    known, here = history.names(), current()
    subscribed = {known.get(sid, sid): number for sid, number in subscribers().items()}
    subscribed = {n: number for n, number in subscribed.items() if is_in(here, n)}
    broadcasts, incidents = history.broadcasts(), history.incidents()
    return {
        "broadcasts": [asdict(b) for b in broadcasts if is_in(here, b.name)],
        "incidents": [asdict(i) for i in incidents if is_in(here, i.stream)],
        "subscribed": sorted(subscribed.items()),
        "streams": [_row(cls, subscribed) for cls in stream_classes()],
        "counters": [
            (name, value, MEANINGS.get(name, "")) for name, value in counters().items()
        ],
    }


MEANINGS = NAMES | GAUGES


def _row(cls: type[Stream], subscribed: Mapping[str, int]) -> dict[str, Any]:
    model = cls.options.model
    return {
        "label": cls.label,
        "model": model._meta.label if model else "",
        "audiences": ", ".join(cls.options.audiences),
        "permission": "tested" if cls.tests_user() else "public",
        "subscribers": sum(
            number
            for name, number in subscribed.items()
            for plain in [split(name)[1]]
            if plain == cls.label or plain.startswith(f"{cls.label}:")
        ),
    }
