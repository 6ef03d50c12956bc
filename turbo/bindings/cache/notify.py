"""Broadcast the changes of a binding to its clients."""

from __future__ import annotations

import json
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from turbo.bindings.messages import read_change
from turbo.bindings.store import Applied, Slot
from turbo.bindings.store.versions import Version
from turbo.delivery.broadcast import broadcast
from turbo.runtime.namespaces import in_namespace

__all__ = [
    "group_stream_name",
    "parse_told",
    "send_to_group",
    "stream_name",
    "tell",
    "tell_unknown",
]

#: The most changes to broadcast at once; above it, clients read them from the store.
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
    Broadcast the changes that a write has made, if anybody listens.

    There is one message for each change: ``k3:8 {"action":…}``. Messages of several
    writers may arrive in any order; the version gives the right one.
    """
    if applied is None or not applied.has_listeners or not applied.changes:
        return
    if len(applied.changes) > MANY:
        _broadcast(slot, applied.version)
        return
    epoch, last = applied.version
    first = last - len(applied.changes) + 1
    for number, change in enumerate(applied.changes, first):
        _broadcast(slot, Version(epoch, number), change)


def tell_unknown(slot: Slot) -> None:
    """Broadcast that the rows have changed in an unknown way."""
    broadcast(stream_name(slot), " ")


def _broadcast(slot: Slot, version: Version, change: str = "") -> None:
    broadcast(stream_name(slot), f"{version} {change}")


def parse_told(data: str) -> tuple[Version | None, str]:
    """
    Return the version and the change that were broadcast.

    >>> parse_told('k3:8 {"action":"delete","pk":1}')
    (Version(epoch='k3', number=8), '{"action":"delete","pk":1}')

    Raises :exc:`~turbo.delivery.unreadable.Unreadable` for anything else. That may be a
    change in the format of a later release; clients then notice a gap in the versions.
    """
    version, _, change = data.partition(" ")
    if change:
        read_change(change)
    return Version.parse(version), change


def group_stream_name(group: str) -> str:
    """Return the name of the stream to the clients of a group."""
    return in_namespace(f"turbo.bindings.group:{group}")


def send_to_group(group: str, action: str, payload: Any = None) -> None:
    """
    Send a message to the clients of all consumers with ``group`` in their ``groups``.

    If a transaction is open, the message is sent after the commit::

        send_to_group("staff", "notice", "Back in five minutes.")
        # Sends {"event":"scores","action":"notice","payload":"Back in five minutes."}
    """
    data = json.dumps({"action": action, "payload": payload}, cls=DjangoJSONEncoder)
    broadcast(group_stream_name(group), data)
