"""
Requests of clients: an action, a request id, and the arguments of the action.

::

    {"action": "retrieve", "request_id": 1, "pk": 1}

Permissions and filters of DRF need an HTTP request; :func:`http_request` makes one from
the scope of the connection and the message.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from typing import Any
from urllib.parse import urlencode

from django.core.handlers.asgi import ASGIRequest
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.parsers import JSONParser
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request

from turbo.conf import get_settings
from turbo.connections.users import scope_user
from turbo.exceptions import DecoratorError
from turbo.observers.wire.replies import TooLarge, encode
from turbo.typing import Scope

__all__ = [
    "RESERVED",
    "TOLD",
    "Call",
    "check_arguments",
    "check_names",
    "check_request_id",
    "check_signature",
    "check_size",
    "http_request",
    "is_request_id",
    "method_of",
    "query_of",
    "query_string",
    "text_of",
]

#: Arguments that the library gives to permissions, querysets and actions. No client
#: may send them.
TOLD = frozenset({"action", "consumer", "event", "obj", "request_id", "scope", "self"})
#: Further parameters of the library; an action may declare them as its own arguments.
RESERVED = TOLD | {
    "instance",
    "method",
    "queryset",
    "request",
    "serializer",
    "user",
    "view",
}
MAX_REQUEST_ID = 255

#: The HTTP method that permissions of DRF see for an action.
METHODS = {
    "connect": "HEAD",
    "create": "POST",
    "delete": "DELETE",
    "list": "GET",
    "list_cancel": "GET",
    "patch": "PATCH",
    "ping": "HEAD",
    "retrieve": "GET",
    "update": "PUT",
}


@dataclass(frozen=True, slots=True)
class Call:
    """One action that a client asked for."""

    action: str
    request_id: Any = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def wanted(self) -> dict[str, Any]:
        """Return the arguments that select what to subscribe to."""
        return {k: v for k, v in self.arguments.items() if k not in _ANSWER}


def text_of(message: Mapping[str, Any]) -> str:
    """Return the text of a ``websocket.receive`` message."""
    text: str | None = message.get("text")
    if text is None:
        raise ParseError("Frames are JSON text, not bytes.")
    check_size(text)
    return text


def check_size(frame: str | bytes) -> None:
    """Raise :exc:`TooLarge` for a frame that is larger than is allowed."""
    if len(frame) > (limit := get_settings().max_frame_bytes):
        raise TooLarge(f"A frame holds at most {limit} bytes.")


def check_request_id(value: Any) -> None:
    """Raise an error unless ``value`` is short: every answer and event repeats it."""
    if not is_request_id(value):
        raise ValidationError({"request_id": ["A shorter value is expected."]})


def is_request_id(value: Any) -> bool:
    """
    Return whether ``value`` may be repeated: a number, or anything that is short.

    >>> is_request_id([1, {"a": None}]), is_request_id("x" * 256)
    (True, False)
    """
    if isinstance(value, (int, float)):
        return True
    try:
        text = value if isinstance(value, str) else encode(value)
    except RecursionError:
        return False
    return len(text) <= MAX_REQUEST_ID


def check_names(method: Callable[..., Any] | None, given: Mapping[str, Any]) -> None:
    """
    Raise an error if an argument has a name that the library uses itself.

    For example, the library gives ``event=True`` to permissions, so no client may send
    ``event``.
    """
    reserved = RESERVED & given.keys()
    if reserved and method is not None:
        reserved -= _named(method) - TOLD
    _refuse({}, reserved)


def check_signature(function: Callable[..., Any]) -> None:
    """Raise :exc:`DecoratorError` for an action that no client could call."""
    needed = {p.name for p in _parameters(function) if p.default is p.empty}
    if taken := (TOLD - {"action", "request_id"}) & needed:
        raise DecoratorError(
            f"{function.__qualname__}() needs {', '.join(map(repr, sorted(taken)))}, "
            f"which clients cannot send, because the library passes it to "
            f"permissions. Give the argument another name."
        )


def check_arguments(method: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Raise an error if arguments of ``method`` are missing or unknown."""
    parameters = _parameters(getattr(method, "__func__", method))
    named = _named(method)
    refused = given.keys() - named if len(named) == len(parameters) else set()
    needed = {p.name for p in parameters if p.default is p.empty and p.name in named}
    _refuse(needed - given.keys() - {"action", "request_id"}, refused)


def _refuse(missing: Iterable[str], refused: Iterable[str]) -> None:
    errors = {name: ["This field is required."] for name in sorted(missing)}
    errors |= {name: ["This field is not expected."] for name in sorted(refused)}
    if errors:
        raise ValidationError(errors)


def _named(method: Callable[..., Any]) -> set[str]:
    parameters = _parameters(getattr(method, "__func__", method))
    return {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}


@lru_cache(maxsize=512)
def _parameters(function: Callable[..., Any]) -> tuple[inspect.Parameter, ...]:
    """Return the parameters that can be passed by name, without ``self``."""
    parameters = tuple(inspect.signature(function).parameters.values())[1:]
    return tuple(p for p in parameters if p.kind is not p.VAR_POSITIONAL)


def query_of(arguments: Mapping[str, Any], *, action: str = "list") -> dict[str, Any]:
    """
    Return the parameters for filters and pages in a message.

    These are the entries of ``"query"``, or of ``"data"`` for lists, and all plain
    values beside it.

    >>> query_of({"query": {"room": 1}, "limit": 10, "data": {"name": "x"}})
    {'limit': 10, 'name': 'x', 'room': 1}
    """
    query = {
        name: value
        for name, value in arguments.items()
        if name not in _CONTROL and not isinstance(value, (dict, list))
    }
    for name in ("data", "query") if action in _LISTS else ("query",):
        given = arguments.get(name)
        if isinstance(given, Mapping):
            query |= given
    return query


#: Arguments that say how to answer, and do not select anything.
_ANSWER = frozenset({"since", "snapshot"})
_CONTROL = _ANSWER | {"action", "event", "request_id"}
_LISTS = frozenset({"list", "subscribe_list"})


def http_request(
    scope: Scope,
    action: str,
    arguments: Mapping[str, Any],
    *,
    methods: Container[str] | None = None,
) -> Request:
    """
    Return an HTTP request that is equivalent to a message.

    With ``methods``, its method is one of these, or POST.
    """
    method = method_of(action)
    if methods is not None and method not in methods:
        method = "POST"
    try:
        body = encode(arguments.get("data")).encode()
    except RecursionError:
        raise ParseError("The data is nested too deeply.") from None
    kept = [
        (name, value)
        for name, value in scope.get("headers") or ()
        if name.lower() not in (b"content-length", b"content-type")
    ]
    sent = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    http = {
        "type": "http",
        "method": method,
        "path": scope.get("path", "/"),
        "query_string": query_string(arguments, action=action).encode(),
        "scheme": {"wss": "https"}.get(scope.get("scheme", "ws"), "http"),
        "headers": [*kept, *sent],
        "client": scope.get("client"),
        "server": scope.get("server"),
    }
    request = ASGIRequest(http, BytesIO(body))
    request.user = scope_user(scope)
    request.session = scope.get("session")  # type: ignore[assignment]
    wrapped = Request(request, parsers=[JSONParser()])
    wrapped.user = request.user
    return wrapped


def query_string(arguments: Mapping[str, Any], *, action: str) -> str:
    """Return the parameters for filters and pages as the query string of a URL."""
    query = query_of(arguments, action=action)
    try:
        return urlencode(_pairs(query), doseq=True)
    except UnicodeEncodeError:
        raise ParseError("The query holds half a character.") from None


def method_of(action: str) -> str:
    """
    Return the HTTP method that permissions and filters of DRF see for an action.

    For an action of the project, this is its name in capitals, and never one of the
    methods that are safe.

    >>> method_of("list"), method_of("subscribe_list"), method_of("send_email")
    ('GET', 'GET', 'SEND_EMAIL')
    >>> method_of("options")
    'POST'
    """
    if action.startswith(("subscribe", "unsubscribe")):
        return "GET"
    own = action.upper()
    return METHODS.get(action, "POST" if own in SAFE_METHODS else own)


def _pairs(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) for name, value in query.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return json.dumps(value) if isinstance(value, dict) else value
