"""
Messages that cannot be read.

They are malformed, or from a newer version during an upgrade, or from another project
on the same Redis. They are dropped and counted, and logged once a minute.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import Any

from turbo import metrics
from turbo.exceptions import TurboError
from turbo.runtime.log_once import once_a_minute

__all__ = ["Unreadable", "drop", "is_about_content", "json_object", "require"]

logger = logging.getLogger("turbo.hub")

#: The exceptions of decoding, here and in the channel layers.
_CONTENT_ERRORS = (
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    asyncio.QueueEmpty,  # channels-redis, for a message that names no channel
)


class Unreadable(TurboError, ValueError):
    """A message that this process cannot read."""


def drop(kind: str, problem: object) -> None:
    """Count a dropped message, and log it at most once a minute."""
    metrics.count("unreadable")
    if once_a_minute(f"unreadable {kind}"):
        logger.warning(
            "Messages that cannot be read are dropped: %s: %.200s", kind, problem
        )


def is_about_content(error: Exception) -> bool:
    """
    Return whether a channel layer raised ``error`` because of a message's content.

    >>> is_about_content(KeyError("__asgi_channel__")), is_about_content(OSError())
    (True, False)
    """
    # Raised if another project encrypts with other keys; not always installed.
    is_encrypted = type(error).__name__ == "InvalidToken"
    return is_encrypted or isinstance(error, _CONTENT_ERRORS)


def json_object(text: Any) -> dict[str, Any]:
    """Return the JSON object in ``text``; raise :exc:`Unreadable` if there is none."""
    try:
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise Unreadable(f"{type(error).__name__}: {error}") from None
    if not isinstance(value, dict):
        raise Unreadable(f"not an object but {value!r:.100}")
    return value


def require(values: Mapping[str, Any], **types: Any) -> None:
    """
    Raise :exc:`Unreadable` unless each named value is there and of its type.

    >>> require({"pk": 1, "using": "default"}, using=str)
    """
    for name, expected in types.items():
        if not isinstance(values.get(name), expected):
            raise Unreadable(f"{name} is {values.get(name)!r:.100}")
