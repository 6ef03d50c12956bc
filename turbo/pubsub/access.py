"""Access of clients to ``pubsub_server``, and their first messages."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Hashable, Sequence
from typing import Any
from urllib.parse import parse_qs

from django.utils.module_loading import import_string

from turbo.pubsub.conf import Access, get_pubsub_settings
from turbo.pubsub.message import to_json
from turbo.runtime.failures import log_failure
from turbo.runtime.threads import in_thread, in_turn
from turbo.typing import Scope

__all__ = ["greetings", "may_connect", "query_token", "user_of_token"]

#: The parameter of the URL with the token, if ``QUERY_TOKEN`` is on.
QUERY_PARAMETER = "token"


async def may_connect(user: Any, session: Any) -> bool:
    """Return whether ``ACCESS`` allows this user or this session to connect."""
    access = get_pubsub_settings().access
    if access == "session" and not user.is_authenticated:
        return await in_thread(_is_kept, session)
    return _TESTS[access](user)


def _is_kept(session: Any) -> bool:
    key = getattr(session, "session_key", None)
    return key is not None and bool(session.exists(key))


def _is_staff(user: Any) -> bool:
    return _is_superuser(user) or bool(getattr(user, "is_staff", False))


def _is_superuser(user: Any) -> bool:
    return bool(getattr(user, "is_superuser", False))


_TESTS: dict[Access, Callable[[Any], bool]] = {
    "anyone": lambda user: True,
    "session": lambda user: True,
    "authenticated": lambda user: bool(user.is_authenticated),
    "staff": _is_staff,
    "superuser": _is_superuser,
}


def query_token(scope: Scope) -> str | None:
    """Return the token in the URL, if this is allowed and it has one."""
    if not get_pubsub_settings().query_token:
        return None
    text: str = scope.get("query_string", b"").decode("latin-1")
    query = parse_qs(text)
    return query.get(QUERY_PARAMETER, [""])[0] or None


async def user_of_token(token: str, owner: Hashable) -> Any:
    """Return the user that ``AUTHENTICATE`` finds, or ``None``."""
    try:
        ask = import_string(get_pubsub_settings().authenticate)
        if inspect.iscoroutinefunction(ask):
            user = await ask(token)
        else:
            user = await in_turn(owner, ask, token)
    except Exception as error:
        log_failure("A token could not be checked; it is refused.", error)
        return None
    return user if getattr(user, "is_authenticated", False) else None


async def greetings(user: Any, owner: Hashable) -> list[str]:
    """Return the frames of ``HELLO_MESSAGES``."""
    paths = get_pubsub_settings().hello_messages
    return await in_turn(owner, _greetings, paths, user) if paths else []


def _greetings(paths: Sequence[str], user: Any) -> list[str]:
    frames = []
    for path in paths:
        try:
            message = import_string(path)(user)
            if message is not None:
                frames.append(to_json(message))
        except Exception as error:
            log_failure(f"The hello message {path!r} failed; it is left out.", error)
    return frames
