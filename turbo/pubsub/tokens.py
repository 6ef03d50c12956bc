"""
Tokens of clients of ``pubsub_server``.

``TURBO["PUBSUB"]["AUTHENTICATE"]`` names the function that returns the user of a token.
The default, :func:`authenticate`, reads the tokens of :func:`make_token`.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core import signing
from django.utils.crypto import constant_time_compare

from turbo.pubsub.conf import get_pubsub_settings
from turbo.runtime.namespaces import current, in_namespace, split

__all__ = ["authenticate", "make_token"]

SALT = "turbo.pubsub"


def make_token(user: Any) -> str:
    """
    Return a token with which a client of ``pubsub_server`` authenticates as ``user``.

    It is valid for ``TOKEN_MAX_AGE`` seconds, and until the password changes, in the
    namespace in which it was made. The
    client sends it in its first message: ``{"type":"authenticate","token":"…"}``.
    """
    if not user.is_authenticated:
        raise ValueError("make_token() needs a user who can log in.")
    return signing.dumps([in_namespace(str(user.pk)), _fingerprint(user)], salt=SALT)


def authenticate(token: str) -> Any:
    """Return the user of a token, or ``None`` if it is forged, too old or nobody's."""
    try:
        age = get_pubsub_settings().token_max_age
        key, fingerprint = signing.loads(token, salt=SALT, max_age=age)
        namespace, pk = split(key)
    except (signing.BadSignature, ValueError):
        return None
    if namespace != current():
        return None
    user = get_user_model()._default_manager.filter(pk=pk).first()
    if user is None or not getattr(user, "is_active", True):
        return None
    return user if constant_time_compare(fingerprint, _fingerprint(user)) else None


def _fingerprint(user: Any) -> str:
    get_hash = getattr(user, "get_session_auth_hash", None)
    return str(get_hash()) if get_hash else ""
