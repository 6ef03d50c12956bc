"""
Changes in the form that clients get; each instance is read and serialised once.

Call these functions in threads.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connections
from django.db.models import Model

from turbo.changes.rows import pk_value, read_row
from turbo.delivery.frame import Frame
from turbo.delivery.unreadable import Unreadable, drop
from turbo.pubsub.message import Announcement, to_json
from turbo.pubsub.watching import Listening, find
from turbo.runtime.failures import log_failure

__all__ = ["PublishedChange", "read_changes"]


class PublishedChange:
    """One change of a row, for all users who may see it."""

    def __init__(
        self, listening: Listening, item: Announcement, instance: Model
    ) -> None:
        self._listening = listening
        self._item = item
        self._instance = instance
        self._lock = threading.Lock()  # owns _frame
        self._frame: Frame | None = None

    def admits(self, user: Any) -> bool:
        """Return whether a user may get the change; nobody may if the test fails."""
        return self._listening.admits(self._instance, user)

    def frame(self) -> Frame:
        """Return the frame, which is made once for all users."""
        with self._lock:
            if self._frame is None:
                text = _text(self._listening, self._item, self._instance)
                self._frame = Frame(text)
            return self._frame


def read_changes(announcements: Sequence[Announcement]) -> list[PublishedChange]:
    """Return the changes for clients, in order."""
    known = [(find(item.label), item) for item in announcements]
    rows = _read([(listening, item) for listening, item in known if listening])
    return [
        PublishedChange(listening, item, instance)
        for listening, item in known
        # Skips unknown models and rows deleted since, whose delete follows.
        if listening is not None and (instance := rows.get(_key(item))) is not None
    ]


def _key(item: Announcement) -> tuple[str, str, str, bool]:
    return item.label, item.using, to_json(item.pk), item.action == "deleted"


def _read(known: Sequence[tuple[Listening, Announcement]]) -> dict[Any, Model]:
    """Return the instances; existing ones are read with one query for each model."""
    found: dict[Any, Model] = {}
    wanted: dict[tuple[type[Model], str], dict[Any, Announcement]] = {}
    for listening, item in known:
        try:
            if item.using not in connections:
                raise Unreadable(f"there is no database {item.using!r:.100}")
            pk = pk_value(listening.model, item.pk)
            if item.row is not None:
                found[_key(item)] = read_row(item.row, listening.model, item.using)
            else:
                wanted.setdefault((listening.model, item.using), {})[pk] = item
        except (TypeError, ValueError, ValidationError) as problem:
            drop("changes for pub/sub clients", problem)
    for (model, using), items in wanted.items():
        there = model._base_manager.using(using).in_bulk(list(items))
        found |= {_key(items[pk]): instance for pk, instance in there.items()}
    return found


def _text(listening: Listening, item: Announcement, instance: Model) -> str:
    """
    Return the frame.

    ``{"model":"shop.Topping","action":"saved","pk":1,"data":{"pk":1}}``
    """
    return to_json(
        {
            "model": listening.label,
            "action": item.action,
            "pk": item.pk,
            "data": _data(listening, item, instance),
        }
    )


def _data(listening: Listening, item: Announcement, instance: Model) -> Any:
    try:
        data = listening.data(instance)
        to_json(data)
    except Exception as error:
        log_failure(f"A {listening.label} cannot be serialised.", error)
        return None
    return data
