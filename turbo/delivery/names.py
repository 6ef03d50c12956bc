"""
Names of streams: the plain name, the signed name of a page, and the group's name.

The *name* is ``"<app label>:<class>"``, with the arguments of the stream after a
second colon: ``"chat:Announcements"``, ``"chat:RoomStream:1"``. The *stream id* is a
hash of the name that every channel layer accepts in a group's name. The *signed name*
holds the name, the user for whom it was made, and the moment at which the request for
the page began: no earlier messages are replayed to the page. If the stream has
audiences, it also holds the one for which the page was rendered.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.core import signing

from turbo.conf import get_settings
from turbo.exceptions import NameRefused

__all__ = [
    "CONTROL",
    "EVERY",
    "SignedName",
    "decode_args",
    "encode_args",
    "group_name",
    "sign",
    "stream_id",
    "user_key",
    "verify",
]

SALT = "turbo.stream"

#: In place of a stream's id: the group that every process joins.
EVERY = "every"

#: The stream on which the processes tell each other to end subscriptions.
CONTROL = "turbo:control"


@dataclass(frozen=True, slots=True)
class SignedName:
    """
    The content of a verified name: the stream, the user and the moment.

    ``since`` is a moment of the replay log; any other value means that the moment was
    not known. ``audience`` is empty for a stream without audiences.
    """

    name: str
    user: str | None
    since: str
    audience: str = ""

    def is_for(self, user: Any) -> bool:
        """Return whether ``user`` may use it; names without user are for everybody."""
        return self.user is None or self.user == user_key(user)


@lru_cache(maxsize=4096)
def stream_id(name: str) -> str:
    """
    Return the id under which a stream's messages travel.

    >>> stream_id("chat:Announcements")
    'z7r3l7mdrbvujpqa35bauqyha7'
    """
    digest = hashlib.sha256(name.encode()).digest()
    return base64.b32encode(digest[:20]).decode()[:26].lower()


def group_name(sid: str) -> str:
    """Return the channel layer's group for a stream id."""
    return f"turbo.{sid}"


def user_key(user: Any) -> str | None:
    """Return the key of a logged-in user, or ``None`` for anybody else."""
    if user is None or not getattr(user, "is_authenticated", False):
        return None
    return str(user.pk)


def sign(name: str, *, user: Any = None, since: str = "", audience: str = "") -> str:
    """Return ``name`` signed for ``user``, for use on a page."""
    payload = [name, user_key(user), since, *([audience] if audience else [])]
    return signing.dumps(payload, salt=SALT)


def verify(signed: str) -> SignedName:
    """
    Return the content of a signed name.

    Raises :exc:`~turbo.exceptions.NameRefused` if it was not signed here, is older than
    ``SIGNED_NAME_MAX_AGE``, or has the format of an older version.
    """
    try:
        payload = signing.loads(
            signed, salt=SALT, max_age=get_settings().signed_name_max_age
        )
    except signing.SignatureExpired as error:
        raise NameRefused("expired") from error
    except (signing.BadSignature, ValueError) as error:
        raise NameRefused("forged") from error
    if len(payload) not in (3, 4):
        raise NameRefused("expired")
    return SignedName(*payload)


def encode_args(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """
    Return a stream's arguments as the last part of its name.

    >>> encode_args((), {}), encode_args((3, "b"), {}), encode_args((), {"n": 1})
    ('', '[3,"b"]', '{"args":[],"kwargs":{"n":1}}')
    """
    if not args and not kwargs:
        return ""
    value: Any = {"args": args, "kwargs": kwargs} if kwargs else args
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def decode_args(text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """
    Return the arguments that :func:`encode_args` wrote.

    >>> decode_args('[3,"b"]')
    ((3, 'b'), {})
    """
    if not text:
        return (), {}
    value = json.loads(text)
    if isinstance(value, dict):
        return tuple(value["args"]), value["kwargs"]
    return tuple(value), {}
