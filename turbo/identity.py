"""
Who is on the other side of a connection, at its start and again later.

Where no middleware has found the user, the session's user is looked up when somebody
first asks, in the same visit to the database as everything else that is asked there.
Asked again later, the user is read anew: a session that was ended, a changed password
or a deactivated account then yield nobody.
"""

from __future__ import annotations

import hashlib
from functools import partial
from importlib import import_module
from typing import Any

from channels.auth import get_user
from channels.db import database_sync_to_async
from django.apps import apps
from django.conf import settings
from django.http import parse_cookie
from django.utils.functional import SimpleLazyObject, empty

from turbo.names import user_key
from turbo.typing import Scope

__all__ = ["is_pending", "reload_user", "scope_user", "session_hash", "with_visitor"]


def with_visitor(scope: Scope) -> Scope:
    """Return a scope that has a session and a user, if its cookies name a session."""
    if "user" in scope or not apps.is_installed("django.contrib.auth"):
        return scope
    session_key = _cookies(scope).get(settings.SESSION_COOKIE_NAME)
    if not session_key:
        return scope
    session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    user = SimpleLazyObject(partial(get_user.func, {"session": session}))
    return dict(scope, session=session, user=user)


def is_pending(user: Any) -> bool:
    """Return whether a user has yet to be looked up, which takes the database."""
    return getattr(user, "_wrapped", None) is empty


def scope_user(scope: Scope) -> Any:
    """Return the user of a connection; anonymous when no middleware found one."""
    user = scope.get("user")
    return _nobody() if user is None else user


def session_hash(session_key: str | None) -> str:
    """Return what names a session without giving it away."""
    if not session_key:
        return ""
    return hashlib.sha256(f"turbo.session{session_key}".encode()).hexdigest()[:32]


async def reload_user(scope: Scope, user: Any) -> Any:
    """Return who the connection's user is by now."""
    if is_pending(user) or user_key(user) is None:
        return user
    session = scope.get("session")
    if session is None or not getattr(session, "session_key", None):
        return await database_sync_to_async(_from_database)(user)
    fresh = dict(scope, session=type(_unwrapped(session))(session.session_key))
    return await get_user(fresh)


def _cookies(scope: Scope) -> dict[str, str]:
    for name, value in scope.get("headers", ()):
        if name == b"cookie":
            return parse_cookie(value.decode("latin1"))
    return {}


def _from_database(user: Any) -> Any:
    # Found by other means than a session: a token, say.
    manager = getattr(type(_unwrapped(user)), "_default_manager", None)
    if manager is None:
        return user
    found = manager.filter(pk=user.pk).first()
    return found if found is not None and found.is_active else _nobody()


def _nobody() -> Any:
    # Models can only be imported once Django is set up, and asgi.py comes before that.
    from django.contrib.auth.models import AnonymousUser

    return AnonymousUser()


def _unwrapped(value: Any) -> Any:
    wrapped = getattr(value, "_wrapped", None)
    return value if wrapped is None else wrapped
