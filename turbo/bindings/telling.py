"""Telling the clients of a binding what has changed."""

from __future__ import annotations

from turbo.bindings.store import Applied, Slot
from turbo.bindings.versions import Version
from turbo.broadcast import broadcast

__all__ = ["stream_name", "tell", "tell_unknown"]

#: Changes at once above which clients are told to look for themselves.
MANY = 100


def stream_name(slot: Slot) -> str:
    """
    Return the name of the stream on which a binding's changes are broadcast.

    >>> stream_name(Slot("shop:Products", '8f3c {"shelf":5}'))
    'turbo.bindings:shop:Products:8f3c {"shelf":5}'
    """
    return f"turbo.bindings:{slot.group}:{slot.name}"


def tell(slot: Slot, applied: Applied | None) -> None:
    """
    Broadcast what a write came to, if anybody listens.

    One message for each change, ``{"version":"k3:8","change":{"action":…}}``. Messages
    of several writers may overtake each other; the version says which comes first.
    """
    if applied is None or not applied.heeded or not applied.changes:
        return
    if len(applied.changes) > MANY:
        _broadcast(slot, applied.version)
        return
    epoch, last = applied.version
    first = last - len(applied.changes) + 1
    for number, change in enumerate(applied.changes, first):
        _broadcast(slot, Version(epoch, number), change)


def tell_unknown(slot: Slot) -> None:
    """Broadcast that something has changed that no list of changes leads to."""
    broadcast(stream_name(slot), '{"version":""}')


def _broadcast(slot: Slot, version: Version, change: str = "") -> None:
    body = f',"change":{change}' if change else ""
    broadcast(stream_name(slot), f'{{"version":"{version}"{body}}}')
