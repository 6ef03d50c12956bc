"""The user of everybody who is not logged in."""

from __future__ import annotations

from typing import Any

from django.apps import apps

__all__ = ["nobody"]


def nobody() -> Any:
    """Return an anonymous user."""
    if not apps.is_installed("django.contrib.auth"):
        return _Anonymous()  # Django's own cannot be imported
    # asgi.py imports this module before Django is set up and models can be imported.
    from django.contrib.auth.models import AnonymousUser

    return AnonymousUser()


class _Anonymous:
    """Everybody, on a site that has no users."""

    pk = id = None
    username = ""
    is_authenticated = is_active = is_staff = is_superuser = False
    is_anonymous = True

    def __str__(self) -> str:
        return "AnonymousUser"
