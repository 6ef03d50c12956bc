"""
Functions that return the HTML tags for Turbo, and the ids of elements.

:func:`element` returns the ``<turbo-stream>`` that every verb sends; the other
functions return the other tags that a page needs. Attribute names are checked and
attribute values are always escaped. The content of a tag is not escaped: it must be
safe already.

:func:`dom_id` returns the id of an element that shows a model instance, as Rails does.
An instance has the same id wherever it is shown, so a broadcast can use
``id=dom_id(message)`` and the page ``<li id="{% dom_id message %}">``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from html import escape
from typing import Any, TypeAlias

from django.db.models import Model
from django.utils.safestring import SafeString, mark_safe

from turbo.exceptions import ActionError, TargetError

__all__ = [
    "CONTENTLESS",
    "OVERWRITING",
    "TARGETED",
    "Attributes",
    "attributes_text",
    "dom_id",
    "element",
    "event_source",
    "meta",
    "source",
    "tag",
    "turbo_frame",
]

#: Attributes: ``None`` and ``False`` omit one, ``True`` makes one without a value.
Attributes: TypeAlias = Mapping[str, object]

#: Turbo's own actions that need a target.
TARGETED = frozenset(
    ["append", "prepend", "replace", "update", "before", "after", "remove"]
)
#: Turbo's own actions that overwrite their target.
OVERWRITING = frozenset(["remove", "replace", "update"])
#: Turbo's own actions that carry no content.
CONTENTLESS = frozenset(["remove", "refresh"])

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_OWN_ATTRIBUTES = frozenset(["action", "target", "targets"])

# Before a capital that follows a small letter or a digit, or that begins a word after
# an acronym: RoomMember, HTTPRequest.
_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def element(
    action: str,
    *,
    target: object = None,
    targets: object = None,
    content: str | None = None,
    attributes: Attributes | None = None,
) -> SafeString:
    """
    Return the element that makes a page carry out ``action``.

    ``target`` is an id and ``targets`` a CSS selector; Turbo's own actions need exactly
    one of them, except ``refresh``. ``content`` is safe HTML.

    >>> element("append", target="messages", content="<p>Hello</p>")
    '<turbo-stream action="append" target="messages">\
<template><p>Hello</p></template></turbo-stream>'
    >>> element("remove", targets=".old", attributes={"method": "morph"})
    '<turbo-stream action="remove" targets=".old" method="morph"></turbo-stream>'

    Raises :exc:`~turbo.exceptions.ActionError` for a name that is not one, and
    :exc:`~turbo.exceptions.TargetError`.
    """
    opening = _opening(
        action,
        None if target is None else str(target),
        None if targets is None else str(targets),
    )
    if attributes:
        for name in attributes:
            if str(name).lower() in _OWN_ATTRIBUTES:
                raise ActionError(name, "attribute")
        opening = f"{opening[:-1]}{attributes_text(attributes)}>"
    inner = "" if content is None else f"<template>{content}</template>"
    return SafeString(f"{opening}{inner}</turbo-stream>")


@lru_cache(maxsize=1024)
def _opening(action: str, target: str | None, targets: str | None) -> str:
    """Return the opening tag without further attributes; raise if it would be wrong."""
    if action not in TARGETED and not _is_name(action):
        raise ActionError(action)
    action = str.__str__(action)  # that of a StrEnum, which is equal to its value
    places = {"target": target, "targets": targets}
    given = {name: value for name, value in places.items() if value is not None}
    if len(given) > 1:
        raise TargetError(action, ("id", "selector"))
    if "" in given.values() or (not given and action in TARGETED):
        raise TargetError(action)
    return f"<turbo-stream{attributes_text({'action': action, **given})}>"


def tag(name: str, attributes: Attributes, content: str = "") -> SafeString:
    """
    Return one HTML tag with its escaped attributes around ``content``.

    >>> tag("turbo-frame", {"id": 'a"b', "disabled": True, "src": None})
    '<turbo-frame id="a&quot;b" disabled></turbo-frame>'
    """
    return mark_safe(f"<{name}{attributes_text(attributes)}>{content}</{name}>")


def attributes_text(attributes: Attributes) -> str:
    """Return attributes for a tag, each with a space before it."""
    parts = []
    for name, value in attributes.items():
        if not _is_name(name) or name.lower().startswith("on"):
            raise ActionError(name, "attribute")
        if value is True:
            parts.append(f" {name}")
        elif value is not None and value is not False:
            # escape() and not conditional_escape(): text that is safe as content may
            # contain quotes, and those would end the attribute.
            parts.append(f' {name}="{escape(str(value))}"')
    return "".join(parts)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and _NAME.fullmatch(name) is not None


def turbo_frame(
    id: object,
    content: str = "",
    *,
    src: object = None,
    loading: object = None,
    target: object = None,
    attributes: Attributes | None = None,
) -> SafeString:
    """
    Return a ``<turbo-frame>``.

    >>> turbo_frame("tray", src="/trays/1", loading="lazy")
    '<turbo-frame id="tray" src="/trays/1" loading="lazy"></turbo-frame>'
    """
    own = {"id": id, "src": src, "loading": loading, "target": target}
    return tag("turbo-frame", own | dict(attributes or {}), content)


def source(signed_name: str, since: str, stream_id: str | None = None) -> SafeString:
    """
    Return the element that subscribes a page to a stream over the WebSocket.

    With the ``stream_id``, the whispers of the stream find the element.

    >>> source("WyJjIl0:1w:x", "@17")
    '<turbo-channels-stream-source signed-stream-name="WyJjIl0:1w:x" since="@17">\
</turbo-channels-stream-source>'
    """
    attributes = {
        "signed-stream-name": signed_name,
        "since": since,
        "stream-id": stream_id,
    }
    return tag("turbo-channels-stream-source", attributes)


def event_source(src: str, stream_id: str | None = None) -> SafeString:
    """
    Return Turbo's own element that subscribes a page to server-sent events.

    >>> event_source("/turbo/sse/?stream=x&since=%4017")
    '<turbo-stream-source src="/turbo/sse/?stream=x&amp;since=%4017">\
</turbo-stream-source>'
    """
    return tag("turbo-stream-source", {"src": src, "stream-id": stream_id})


def meta(name: str, content: str) -> SafeString:
    """
    Return a ``<meta>`` tag, by which a page tells Turbo how to treat it.

    >>> meta("turbo-cache-control", "no-cache")
    '<meta name="turbo-cache-control" content="no-cache">'
    """
    return mark_safe(f"<meta{attributes_text({'name': name, 'content': content})}>")


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

    An instance of a proxy has the id of the model behind it, because it shows the same
    row. An instance that was never saved is new even if it already has a key, such as a
    UUID, so an invalid form is shown again with the same id.
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
