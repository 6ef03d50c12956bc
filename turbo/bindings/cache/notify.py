"""Telling the clients of a binding what has changed."""

from __future__ import annotations

import json
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction

from turbo.bindings.messages import read_change
from turbo.bindings.store import Applied, Slot
from turbo.bindings.store.versions import Version
from turbo.delivery.broadcast import broadcast

__all__ = [
    "group_stream_name",
    "parse_told",
    "send_to_group",
    "stream_name",
    "tell",
    "tell_unknown",
]

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

    One message for each change, ``k3:8 {"action":…}``. Messages of several writers may
    overtake each other; the version says which comes first.
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
    """Broadcast that something has changed that no list of changes leads to."""
    broadcast(stream_name(slot), " ")


def _broadcast(slot: Slot, version: Version, change: str = "") -> None:
    broadcast(stream_name(slot), f"{version} {change}")


def parse_told(data: str) -> tuple[Version | None, str]:
    """
    Return the version and the change that were broadcast.

    >>> parse_told('k3:8 {"action":"delete","pk":1}')
    (Version(epoch='k3', number=8), '{"action":"delete","pk":1}')

    What is no change raises :exc:`~turbo.delivery.unreadable.Unreadable`. It cannot be
    told from one of a later version, which leaves a hole that its followers make known.
    """
    version, _, change = data.partition(" ")
    if change:
        read_change(change)
    return Version.parse(version), change


def group_stream_name(group: str) -> str:
    """Return the name of the stream by which the clients of a group are reached."""
    return f"turbo.bindings.group:{group}"


def send_to_group(group: str, action: str, payload: Any = None) -> None:
    """
    Send a message to the clients of all consumers with ``group`` in their ``groups``.

    If a transaction is open, the message is sent after the commit::

        send_to_group("staff", "notice", "Back in five minutes.")
        # Sends {"event":"scores","action":"notice","payload":"Back in five minutes."}
    """
    data = json.dumps({"action": action, "payload": payload}, cls=DjangoJSONEncoder)
    transaction.on_commit(lambda: broadcast(group_stream_name(group), data))
