"""Who may connect, and what they are told first."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Any

from channels.db import database_sync_to_async
from django.utils.module_loading import import_string

from turbo import metrics
from turbo.pubsub.announcements import to_json
from turbo.pubsub.conf import Access, get_pubsub_settings

__all__ = ["greetings", "may_connect", "user_of_token"]

logger = logging.getLogger("turbo.pubsub")


async def may_connect(user: Any, session: Any) -> bool:
    """Return whether ``ACCESS`` lets this user in, or whoever has this session."""
    access = get_pubsub_settings().access
    if access == "session" and not user.is_authenticated:
        kept: bool = await database_sync_to_async(_is_kept)(session)
        return kept
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


async def user_of_token(token: str) -> Any:
    """Return the user that ``AUTHENTICATE`` finds, or ``None``."""
    try:
        ask = import_string(get_pubsub_settings().authenticate)
        if inspect.iscoroutinefunction(ask):
            user = await ask(token)
        else:
            user = await database_sync_to_async(ask)(token)
    except Exception:
        logger.exception("A token cannot be checked, and is refused.")
        metrics.count("failed")
        return None
    return user if getattr(user, "is_authenticated", False) else None


async def greetings(user: Any) -> list[str]:
    """Return the frames of ``HELLO_MESSAGES``."""
    paths = get_pubsub_settings().hello_messages
    if not paths:
        return []
    frames: list[str] = await database_sync_to_async(_greetings)(paths, user)
    return frames


def _greetings(paths: Any, user: Any) -> list[str]:
    frames = []
    for path in paths:
        try:
            message = import_string(path)(user)
            if message is not None:
                frames.append(to_json(message))
        except Exception:
            logger.exception("The hello message %r failed, and is left out.", path)
            metrics.count("failed")
    return frames
