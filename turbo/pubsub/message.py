"""
The messages about one change, on the channels and to the server.

The message is the same on three channels, so that a subscriber can choose::

    django                          everything
    django:shop-Topping             one model
    django:shop-Topping:created     one model and action
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import NoneType
from typing import Any, Literal, TypeAlias, get_args

from django.core.serializers.json import DjangoJSONEncoder

from turbo.delivery.unreadable import Unreadable, json_object, require

__all__ = ["GAP", "Announcement", "PublishedAction", "to_json"]

PublishedAction: TypeAlias = Literal["created", "saved", "deleted"]

#: Sent to the server instead of announcements that had to be dropped.
GAP = "{}"


def to_json(value: Any) -> str:
    r"""
    Return ``value`` as ASCII JSON, which can hold all text of a database.

    >>> to_json({"pk": 1, "name": "Crème"})
    '{"pk":1,"name":"Cr\\u00e8me"}'
    """
    return json.dumps(value, cls=DjangoJSONEncoder, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """
    One change of a listenable model's row.

    ``using`` is the alias of its database. ``row`` holds the columns of a deleted row.
    ``namespace`` is that of the change, if there is one. It is in the message and in
    the names of the channels.
    """

    app: str
    model: str
    action: PublishedAction
    pk: Any
    using: str = "default"
    row: Mapping[str, Any] | None = None
    namespace: str = ""

    @property
    def label(self) -> str:
        """The model's label: ``shop.Topping``."""
        return f"{self.app}.{self.model}"

    def channels(self) -> tuple[str, str, str]:
        """
        Return the channels on which the message is published.

        >>> Announcement(app="shop", model="Topping", action="saved", pk=7).channels()
        ('django', 'django:shop-Topping', 'django:shop-Topping:saved')
        """
        every = f"django@{self.namespace}" if self.namespace else "django"
        model = f"{every}:{self.app}-{self.model}"
        return every, model, f"{model}:{self.action}"

    def message(self) -> str:
        """
        Return the message.

        >>> Announcement(app="shop", model="Topping", action="saved", pk=7).message()
        'model:{"app":"shop","model":"Topping","action":"saved","pk":7}'
        """
        return f"model:{to_json(self._public())}"

    def pack(self) -> str:
        """
        Return the message for the server.

        >>> Announcement(app="shop", model="Topping", action="saved", pk=7).pack()
        '{"app":"shop","model":"Topping","action":"saved","pk":7,"using":"default",\
"row":null}'
        """
        return to_json({**self._public(), "using": self.using, "row": self.row})

    @classmethod
    def unpack(cls, text: str) -> Announcement | None:
        """
        Return the announcement that :meth:`pack` wrote, or ``None`` for :data:`GAP`.

        Keys of later versions are ignored. Raises
        :exc:`~turbo.delivery.unreadable.Unreadable` if known keys are missing.
        """
        given = json_object(text)
        if not given:
            return None
        names = {field.name for field in fields(cls)}
        known = {name: value for name, value in given.items() if name in names}
        require(known, app=str, model=str, using=str, row=(dict, NoneType))
        if (
            not isinstance(known.get("namespace", ""), str)
            or known.get("action") not in get_args(PublishedAction)
            or known.get("pk") is None
        ):
            raise Unreadable(f"{given!r:.200}")
        return cls(**known)

    def _public(self) -> dict[str, Any]:
        return {
            "app": self.app,
            "model": self.model,
            "action": self.action,
            "pk": self.pk,
            **({"namespace": self.namespace} if self.namespace else {}),
        }
