"""
Names of streams: the plain one, the signed one that a page holds, and the group.

The *name* is ``"<app label>:<class>"``, with the arguments of the stream behind a
second colon: ``"chat:Announcements"``, ``"chat:RoomStream:1"``. The *stream id* is a
hash of it that fits into every channel layer's rules for group names. The *signed name*
carries the name, the user for whom it was made, and where the streams stood when the
request began that it was made for: nothing from before that is replayed to its bearer.
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

#: The stream on which the processes tell each other to end subscriptions.
CONTROL = "turbo:control"


@dataclass(frozen=True, slots=True)
class SignedName:
    """
    What a verified name says: the stream, for whom, and since when.

    ``since`` is a moment of the replay log; what else it may be says that the moment
    was not known.
    """

    name: str
    user: str | None
    since: str

    def is_for(self, user: Any) -> bool:
        """Return whether ``user`` may use it: some are for whoever holds them."""
        return self.user is None or self.user == user_key(user)


@lru_cache(maxsize=4096)
def stream_id(name: str) -> str:
    """
    Return the id under which a stream's messages travel.

    >>> stream_id("chat:Announcements")
    'z7r3l7mdrbvujpqa35bauqyha7'
    """
    digest = hashlib.sha256(name.encode()).digest()
    return base64.b32encode(digest).decode()[:26].lower()


def group_name(sid: str) -> str:
    """Return the channel layer's group for a stream id."""
    return f"turbo.{sid}"


def user_key(user: Any) -> str | None:
    """Return what identifies a logged-in user, or ``None`` for anybody else."""
    if user is None or not getattr(user, "is_authenticated", False):
        return None
    return str(user.pk)


def sign(name: str, *, user: Any = None, since: str = "") -> str:
    """Return ``name`` signed for ``user``, to be put on a page."""
    return signing.dumps([name, user_key(user), since], salt=SALT)


def verify(signed: str) -> SignedName:
    """
    Return what a signed name says.

    Raises :exc:`~turbo.exceptions.NameRefused` when it was not signed here, or is older
    than ``SIGNED_NAME_MAX_AGE``, or of the form that an older version signed.
    """
    try:
        payload = signing.loads(
            signed, salt=SALT, max_age=get_settings().signed_name_max_age
        )
    except signing.SignatureExpired as error:
        raise NameRefused("expired") from error
    except (signing.BadSignature, ValueError) as error:
        raise NameRefused("forged") from error
    if len(payload) != 3:
        raise NameRefused("expired")
    name, user, since = payload
    return SignedName(name=name, user=user, since=since)


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
