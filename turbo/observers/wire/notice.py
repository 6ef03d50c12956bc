"""
The message about a change on the channel layer, which names the row.

::

    {"action":"update","model":"chat.room","pk":1,"using":"default","origin":["5f…",8]}

Each process with subscribers reads the row anew, once, and serialises it once. So a
write costs the same however many clients there are, and if the messages of two writers
arrive in the wrong order, no client keeps the older state.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args

from django.apps import apps
from django.core.exceptions import ValidationError
from django.db import connections
from django.db.models import Model

from turbo.changes import ModelChange
from turbo.changes.rows import pk_value, plain
from turbo.delivery.frame import Frame
from turbo.delivery.unreadable import Unreadable, drop, json_object, require
from turbo.observers.wire.replies import encode
from turbo.runtime.namespaces import in_namespace
from turbo.typing import ChangeAction

__all__ = [
    "ChangeNotice",
    "Received",
    "instance_stream",
    "key_of",
    "model_stream",
    "this_moment",
]


@dataclass(frozen=True, slots=True)
class Received:
    """
    A message of a stream, as this process received it.

    ``content`` is ``None`` if messages may have been lost. Its ``origin`` is the
    process that made the message, and the time on that process's own clock. A message
    that is not ``readable`` is sent to no client.
    """

    content: Mapping[str, Any] | None
    position: str
    readable: bool = True

    @classmethod
    def of(cls, frame: Frame) -> Received:
        """Return the message in ``frame``, which is parsed only once."""
        received: Received = frame.wire(cls, cls._parse)
        return received

    def is_older_than(self, moment: tuple[str, int]) -> bool:
        """Return whether the message was certainly made before ``moment``."""
        process, ticks = (self.content or {}).get("origin", ("", 0))
        return bool(process == moment[0] and ticks < moment[1])

    @classmethod
    def _parse(cls, text: str) -> Received:
        given = json.loads(text)
        data, position = given.get("data"), given.get("position", "")
        try:
            return cls(None if data is None else _content(data), position)
        except Unreadable as problem:
            drop("events of observers", problem)
            return cls(None, position, readable=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeNotice:
    """
    The notice of one change, for other processes.

    ``relation`` says that only a many-to-many field has changed. ``body`` is what an
    observer made of a row before it was deleted or left a group, and can no longer be
    read.
    """

    action: ChangeAction
    model: str
    pk: Any
    using: str
    relation: bool = False
    body: Any = None

    @classmethod
    def of(cls, change: ModelChange) -> ChangeNotice:
        """Return the notice of a change."""
        return cls(
            action=change.action,
            model=change.model._meta.label_lower,
            pk=change.pk,
            using=change.using,
            relation=_is_relation(change),
        )

    @classmethod
    def unpack(cls, content: Mapping[str, Any]) -> ChangeNotice:
        """
        Return the notice that :meth:`pack` wrote.

        Keys of later versions are ignored. If known keys are missing, it raises
        :exc:`~turbo.delivery.unreadable.Unreadable`.
        """
        names = {field.name for field in fields(cls)}
        given = {name: value for name, value in content.items() if name in names}
        require(given, action=str, model=str, using=str)
        notice = cls(**{"pk": None, **given})
        if notice.pk is None or not notice._is_known():
            raise Unreadable(f"{given!r:.200}")
        return notice

    def pack(self) -> str:
        """Return the message as JSON; call this after the commit."""
        values: dict[str, Any] = {
            "action": self.action,
            "model": self.model,
            "pk": plain(self.pk),
            "using": self.using,
            "origin": this_moment(),
        }
        if self.relation:
            values["relation"] = True
        if self.body is not None:
            values["body"] = self.body
        return encode(values)

    def _is_known(self) -> bool:
        try:
            pk_value(apps.get_model(self.model), self.pk)
        except (LookupError, TypeError, ValueError, ValidationError):
            return False
        return self.action in get_args(ChangeAction) and self.using in connections

    @property
    def key(self) -> str:
        """Return the primary key as text, see :func:`key_of`."""
        return key_of(self.pk)

    def read(self) -> Model | None:
        """Return the row, read in one query, or ``None`` if it is gone."""
        model = apps.get_model(self.model)
        rows = model._base_manager.using(self.using)
        row: Model | None = rows.filter(pk=pk_value(model, self.pk)).first()
        return row


def _content(data: str) -> Mapping[str, Any]:
    content = json_object(data)
    match content.get("origin", ("", 0)):
        case [str(), int()]:
            return content
    raise Unreadable(f"origin is {content['origin']!r:.100}")


_TOKEN = os.urandom(6).hex()


def this_moment() -> tuple[str, int]:
    """Return the id of this process, and the time on its own clock."""
    return f"{_TOKEN}{os.getpid()}", time.monotonic_ns()


def instance_stream(model: type[Model], pk: Any, using: str) -> str:
    """Return the name of the stream of one row's changes."""
    return f"{model_stream(model, using)}:{key_of(pk)}"


def model_stream(model: type[Model], using: str) -> str:
    """Return the name of the stream of all changes of a model."""
    concrete = model._meta.concrete_model or model
    return in_namespace(f"observers:{using}:{concrete._meta.label_lower}")


def key_of(pk: Any) -> str:
    """
    Return a primary key as JSON, the same in every process.

    >>> import uuid
    >>> key_of(5), key_of(uuid.UUID(int=5)), key_of((1, "a"))
    ('5', '"00000000-0000-0000-0000-000000000005"', '[1,"a"]')
    """
    return encode(plain(pk))


def _is_relation(change: ModelChange) -> bool:
    if not change.update_fields:
        return False
    names = {field.name for field in change.model._meta.many_to_many}
    return change.update_fields <= names
