"""
What clients are told of changes, and which users: decided together, in a thread.

Each instance is read once, serialised once, and each user asked about once, however
many sockets there are.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connections
from django.db.models import Model

from turbo import metrics
from turbo.pubsub.announcements import Announcement, to_json
from turbo.pubsub.listening import Listening, Users, find
from turbo.pubsub.rows import pk_from_json, read_row
from turbo.unreadable import Unreadable, drop

__all__ = ["Verdict", "judge"]

logger = logging.getLogger("turbo.pubsub")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One frame, and the keys of the users who get it."""

    text: str
    users: frozenset[str | None]


def judge(announcements: Sequence[Announcement], users: Users) -> list[Verdict]:
    """Return what to tell, in order; for threads."""
    known = [(find(item.label), item) for item in announcements]
    rows = _read([(listening, item) for listening, item in known if listening])
    verdicts = []
    for listening, item in known:
        instance = rows.get(_key(item))
        if listening is None or instance is None:
            continue  # not a model of ours, or deleted since; the delete follows
        if admitted := listening.admitted(instance, users):
            verdicts.append(Verdict(_text(listening, item, instance), admitted))
    return verdicts


def _key(item: Announcement) -> tuple[str, str, str, bool]:
    return item.label, item.using, to_json(item.pk), item.action == "deleted"


def _read(known: Sequence[tuple[Listening, Announcement]]) -> dict[Any, Model]:
    """Return the instances: those that are there by one query for each model."""
    found: dict[Any, Model] = {}
    wanted: dict[tuple[type[Model], str], dict[Any, Announcement]] = {}
    for listening, item in known:
        try:
            if item.using not in connections:
                raise Unreadable(f"there is no database {item.using!r:.100}")
            pk = pk_from_json(listening.model, item.pk)
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
    except Exception:
        logger.exception("%s %r cannot be serialised.", listening.label, item.pk)
        metrics.count("failed")
        return None
    return data
