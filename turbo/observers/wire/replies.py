"""
The envelope in which clients get answers, events and errors.

::

    {"action": "retrieve", "errors": [], "response_status": 200, "request_id": 1,
     "data": {"id": 1, "name": "Lobby"}}
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from django.core.exceptions import (
    ObjectDoesNotExist,
    PermissionDenied,
    SuspiciousOperation,
    ValidationError,
)
from django.db import DataError
from django.http import Http404
from rest_framework import exceptions, status
from rest_framework.fields import get_error_detail
from rest_framework.utils.encoders import JSONEncoder

__all__ = [
    "LIMITED",
    "TooLarge",
    "TooMany",
    "Unavailable",
    "as_api_exception",
    "encode",
    "envelope",
    "errors_list",
    "event_text",
]


class TooLarge(exceptions.APIException):
    """A frame that is larger than ``MAX_FRAME_BYTES``."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The frame is too large."
    default_code = "too_large"


class TooMany(exceptions.APIException):
    """The client holds or does more than its connection or user may."""

    status_code = status.HTTP_429_TOO_MANY_REQUESTS
    default_detail = "There are too many."
    default_code = "limit"


class Unavailable(exceptions.APIException):
    """The channel layer or the replay log cannot be reached."""

    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "Subscriptions are not possible at the moment. Try again."
    default_code = "unavailable"


def encode(content: Any) -> str:
    """
    Return JSON; encodes all values that serializers return.

    >>> import datetime
    >>> encode({"day": datetime.date(2026, 11, 21)})
    '{"day":"2026-11-21"}'
    """
    return json.dumps(content, cls=JSONEncoder, separators=(",", ":"))


def envelope(
    action: str | None,
    *,
    data: Any = None,
    errors: Iterable[Any] | None = None,
    status: int = 200,
    request_id: Any = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the envelope of one answer; ``extra`` holds further keys."""
    return {
        "action": action,
        "errors": list(errors or ()),
        "response_status": status,
        "request_id": request_id,
        "data": data,
        **(extra or {}),
    }


#: The text sent to a client whose frames are read more slowly from now on.
LIMITED = encode(
    envelope(
        None,
        errors=["Frames come faster than is allowed."],
        status=TooMany.status_code,
        extra={"reason": TooMany.default_code},
    )
)


def event_text(
    action: str, *, status: int, request_id: str, data: str, position: str = ""
) -> str:
    """
    Return the text of an event from parts that are JSON already.

    >>> event_text("update", status=200, request_id="4", data='{"id":1}')
    '{"action":"update","errors":[],"response_status":200,"request_id":4,"data":{"id":1}}'
    """
    tail = f',"position":"{position}"}}' if position else "}"
    return (
        f'{{"action":"{action}","errors":[],"response_status":{status},'
        f'"request_id":{request_id},"data":{data}{tail}'
    )


def errors_list(detail: Any) -> list[Any]:
    """
    Return what the envelope's ``errors`` holds for the detail of an exception.

    >>> errors_list("Not found"), errors_list({"name": ["Too long."]})
    (['Not found'], [{'name': ['Too long.']}])
    """
    return list(detail) if isinstance(detail, list) else [detail]


def as_api_exception(error: Exception) -> exceptions.APIException | None:
    """Return the error to send to the client, or ``None`` if ``error`` is a bug."""
    match error:
        case exceptions.APIException():
            return error
        case Http404() | ObjectDoesNotExist():
            return exceptions.NotFound("Not found")
        case PermissionDenied():
            return exceptions.PermissionDenied()
        case ValidationError():
            return exceptions.ValidationError(get_error_detail(error))
        case DataError() | OverflowError():  # SQLite says it like this
            return exceptions.ValidationError("The database takes no such value.")
        case SuspiciousOperation():
            return exceptions.ParseError()
    return None
