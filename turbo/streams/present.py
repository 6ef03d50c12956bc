"""
The users who are present in a stream, with one query.

What is noted of a user in a stream is a *member*, with the key of the user and the name
of the stream.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError

from turbo.delivery.broadcast import get_publisher
from turbo.delivery.questions import Unanswered
from turbo.exceptions import ConfigurationError
from turbo.replay import get_replay
from turbo.runtime.failures import log_failure

__all__ = ["akeys_of", "keys_of", "member_of", "read_member", "users_of"]


def member_of(name: str, user: str) -> str:
    """
    Return the member for a user in the stream of a name.

    >>> member_of("chat:RoomStream:1", "7")
    '["7","chat:RoomStream:1"]'
    """
    return json.dumps([user, name], ensure_ascii=False, separators=(",", ":"))


def read_member(member: str) -> tuple[str, str]:
    """
    Return the key of the user and the name of the stream.

    >>> read_member('["7","chat:RoomStream:1"]')
    ('7', 'chat:RoomStream:1')
    """
    user, name = json.loads(member)
    return user, name


def keys_of(stream: Any) -> list[str]:
    """
    Return the keys of the users who are present, in the order of joining.

    If this cannot be found out now, the page goes on without them.
    """
    try:
        return _users(get_publisher().questions.ask(_question(stream)))
    except Unanswered as unanswered:
        return _unknown(unanswered.reason)


async def akeys_of(stream: Any) -> list[str]:
    """Async version of keys_of()."""
    try:
        return _users(await get_publisher().questions.aask(_question(stream)))
    except Unanswered as unanswered:
        return _unknown(unanswered.reason)


def _question(stream: Any) -> Callable[[], Awaitable[list[list[str]]]]:
    if not stream.options.presence:
        raise ConfigurationError(
            f"{type(stream).__qualname__} does not count who is present: set "
            f"Meta.presence = True."
        )
    leases, sid = get_replay().leases, stream.stream_id
    return lambda: leases.members([sid])


def _users(answer: Sequence[Sequence[str]]) -> list[str]:
    [members] = answer
    return [read_member(member)[0] for member in members]


def _unknown(error: Exception) -> list[str]:
    if isinstance(error, ConfigurationError):
        raise error
    log_failure("It could not be found out who is present.", error)
    return []


def users_of(keys: Iterable[str]) -> Sequence[Any]:
    """Return the users with these keys, in their order; deleted ones are left out."""
    model = get_user_model()
    pks = []
    for key in keys:
        try:
            pks.append(model._meta.pk.to_python(key))
        except ValidationError:  # the model had keys of another type
            continue
    found = model._default_manager.in_bulk(pks) if pks else {}
    return [found[pk] for pk in pks if pk in found]
