"""
Ids of elements that show a model, formed as Rails forms them.

One id for a row wherever it is shown, so a broadcast can say ``id=dom_id(message)`` and
the page ``<li id="{% dom_id message %}">``.
"""

from __future__ import annotations

import re
from typing import Any

from django.db.models import Model

__all__ = ["dom_id"]

# Before a capital that follows a small letter or a digit, or begins a word after an
# acronym: RoomMember, HTTPRequest.
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def dom_id(record: Any, prefix: str | None = None) -> str:
    """
    Return the id of the element that shows ``record``.

    =======================================  =====================
    ``dom_id(Room(pk=1))`` once saved        ``room_1``
    ``dom_id(room, "edit")``                 ``edit_room_1``
    ``dom_id(Room())``, ``dom_id(Room)``     ``new_room``
    ``dom_id(Room, "search")``               ``search_room``
    ``dom_id(RoomMember…)``, key ``(3, 7)``  ``room_member_3_7``
    =======================================  =====================

    A proxy's instance has the id of the model behind it, for it shows the same row. An
    instance that was never saved is new even if it has a key already, as those with a
    UUID do: a form that fails is shown again with the id that it had.
    """
    if isinstance(record, Model):
        key = _key(record)
    elif isinstance(record, type) and issubclass(record, Model):
        key = None
    else:
        raise TypeError(
            f"dom_id() takes a model or an instance of one, not {record!r}. "
            f"An id that is a string already needs no dom_id()."
        )
    meta = record._meta
    name = _snake((meta.concrete_model or meta.model).__name__)
    if key is None:
        return f"{prefix or 'new'}_{name}"
    return f"{prefix}_{name}_{key}" if prefix else f"{name}_{key}"


def _key(instance: Model) -> str | None:
    pk = instance.pk
    parts = pk if isinstance(pk, tuple) else (pk,)
    if instance._state.adding or None in parts:
        return None
    return "_".join(map(str, parts))


def _snake(name: str) -> str:
    return _WORD.sub("_", name).lower()
