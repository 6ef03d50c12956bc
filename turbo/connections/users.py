"""
The user of a connection, at its start and later.

If no middleware has set the user, the session's user is looked up on first use, in the
same visit to the database as other queries. Later the user is read again: after the end
of the session, a change of the password or a deactivation of the account, the
connection has an anonymous user.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from copy import copy
from functools import partial
from importlib import import_module
from typing import Any

from channels.auth import get_user
from django.apps import apps
from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
    load_backend,
)
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.db.models import Manager, QuerySet
from django.http import parse_cookie
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.functional import SimpleLazyObject, empty

from turbo.delivery.names import user_key
from turbo.runtime.batching import batched
from turbo.runtime.nobody import nobody
from turbo.runtime.threads import in_thread
from turbo.typing import Scope

__all__ = [
    "at_rest",
    "is_pending",
    "load_sessions",
    "load_users",
    "reload_user",
    "scope_user",
    "session_hash",
    "session_user",
    "with_visitor",
]


def with_visitor(scope: Scope) -> Scope:
    """Return a scope that has a session and a user, if its cookies name a session."""
    if "user" in scope or not apps.is_installed("django.contrib.auth"):
        return scope
    session_key = _cookies(scope).get(settings.SESSION_COOKIE_NAME)
    if not session_key:
        return scope
    session = import_module(settings.SESSION_ENGINE).SessionStore(session_key)
    return dict(scope, session=session, user=_Visitor(session))


def session_user(session: Any) -> Any:
    """Return the user of a session, looked up on first use."""
    return _Visitor(session)


class _Visitor(SimpleLazyObject):  # type: ignore[type-arg]
    """The user of a session, looked up on first use."""

    def __init__(self, session: Any) -> None:
        super().__init__(partial(get_user.func, {"session": session}))
        vars(self)["_turbo_session"] = session


def is_pending(user: Any) -> bool:
    """Return whether the user still has to be looked up in the database."""
    return getattr(user, "_wrapped", None) is empty


def load_sessions(users: Iterable[Any]) -> None:
    """Read the sessions of pending users in the database, with one query for all."""
    stores: dict[type[DatabaseStore], list[Any]] = {}
    for user in users:
        if is_pending(user) and isinstance(user, _Visitor):
            store = vars(user)["_turbo_session"]
            # An engine that is based on this one may look elsewhere first.
            if getattr(type(store), "load", None) is DatabaseStore.load:
                stores.setdefault(type(store), []).append(store)
    for group in stores.values():
        keys = {store.session_key for store in group}
        current = group[0].model.objects.filter(expire_date__gt=timezone.now())
        rows = current.in_bulk(keys)
        for store in group:
            if row := rows.get(store.session_key):
                store._session_cache = store.decode(row.session_data)


def load_users(users: Iterable[Any]) -> None:
    """
    Look up pending users by their sessions, with one query for all.

    This is for those whom Django's own backend finds. The others stay pending, and so
    does everybody about whom there is any doubt.
    """
    logins: dict[str, list[_Visitor]] = {}
    for user in users:
        if is_pending(user) and isinstance(user, _Visitor):
            with suppress(Exception):  # of its session
                path = vars(user)["_turbo_session"].get(BACKEND_SESSION_KEY)
                if path in settings.AUTHENTICATION_BACKENDS:
                    logins.setdefault(path, []).append(user)
    if logins:
        _load_logins(logins)


def _load_logins(logins: dict[str, list[_Visitor]]) -> None:
    # It imports models, which a site without users does not have.
    from django.contrib.auth.backends import ModelBackend

    for path, visitors in logins.items():
        backend = load_backend(path)
        if getattr(type(backend), "get_user", None) is ModelBackend.get_user:
            _load_rows(visitors, backend)


def _load_rows(visitors: Sequence[_Visitor], backend: Any) -> None:
    model = get_user_model()
    manager = model._default_manager
    rows_of = type(manager.get_queryset())
    if type(manager).get is not Manager.get or rows_of.get is not QuerySet.get:
        return  # it has a way of its own
    sessions = [vars(visitor)["_turbo_session"] for visitor in visitors]
    pks = [model._meta.pk.to_python(session[SESSION_KEY]) for session in sessions]
    rows = manager.in_bulk(set(pks))
    for visitor, session, pk in zip(visitors, sessions, pks, strict=True):
        row = rows.get(pk)
        if row is None or not backend.user_can_authenticate(row):
            continue
        known, now = session.get(HASH_SESSION_KEY), _fingerprint(row)
        if known and now and constant_time_compare(known, now):
            visitor._wrapped = copy(row)  # each connection has its own


def scope_user(scope: Scope) -> Any:
    """Return the user of a connection; anonymous if no middleware has set one."""
    user = scope.get("user")
    return nobody() if user is None else user


def session_hash(session_key: str | None) -> str:
    """Return a hash that identifies a session without revealing its key."""
    if not session_key:
        return ""
    return hashlib.sha256(f"turbo.session{session_key}".encode()).hexdigest()[:32]


def at_rest(session: Any, user: Any) -> tuple[Any, Any]:
    """Return the session and user in the form to keep once the user is known."""
    if is_pending(user) or not isinstance(user, _Visitor):
        return session, user
    return _unread(session), _unwrapped(user)


async def reload_user(session: Any, user: Any) -> Any:
    """Return the connection's user as of now; concurrent calls share queries."""
    if is_pending(user) or user_key(user) is None:
        return user
    found = await _reload((session, user))
    if isinstance(found, Exception):
        raise found
    return found


@batched
async def _reload(logins: list[tuple[Any, Any]]) -> list[Any]:
    return await in_thread(_reload_all, logins)


def _reload_all(logins: list[tuple[Any, Any]]) -> list[Any]:
    """Return each user as of now, or the exception; each session is read once."""
    visitors: dict[str, _Visitor] = {}
    for session, _ in logins:
        if key := getattr(session, "session_key", None):
            visitors.setdefault(key, _Visitor(_unread(session)))
    with suppress(Exception):  # then each loads what is missing
        load_sessions(visitors.values())
        load_users(visitors.values())
    return [
        _reload_one(visitors.get(getattr(session, "session_key", None) or ""), user)
        for session, user in logins
    ]


def _reload_one(visitor: _Visitor | None, user: Any) -> Any:
    try:
        if visitor is None:
            return _from_database(user)
        user_key(visitor)  # looks up the user
        return _unwrapped(visitor)
    except Exception as error:
        return error


def _cookies(scope: Scope) -> dict[str, str]:
    for name, value in scope.get("headers", ()):
        if name == b"cookie":
            return parse_cookie(value.decode("latin1"))
    return {}


def _from_database(user: Any) -> Any:
    # The user was not found by a session, but by a token, for example.
    manager = getattr(type(_unwrapped(user)), "_default_manager", None)
    if manager is None:
        return user
    found = manager.filter(pk=user.pk).first()
    if found is None or not getattr(found, "is_active", True):
        return nobody()
    return found if _fingerprint(found) == _fingerprint(user) else nobody()


def _fingerprint(user: Any) -> str:
    """Return a hash that changes with the password."""
    get_hash = getattr(user, "get_session_auth_hash", None)
    return str(get_hash()) if get_hash else ""


def _unread(session: Any) -> Any:
    return type(_unwrapped(session))(session.session_key)


def _unwrapped(value: Any) -> Any:
    wrapped = getattr(value, "_wrapped", None)
    return value if wrapped is None else wrapped
