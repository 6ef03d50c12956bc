"""Who may see the inspector, and whether it may show what was sent."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest

from turbo.conf import get_settings
from turbo.runtime.namespaces import split

__all__ = ["STAFF", "is_for_staff", "is_in", "may_inspect", "shows_contents"]

#: The value of ``INSPECTOR`` with which all processes report to staff.
STAFF = "staff"


def is_for_staff() -> bool:
    """Return whether staff may see names and counts of all processes."""
    return get_settings().inspector == STAFF


def shows_contents() -> bool:
    """Return whether the page shows what was sent, which is for development only."""
    return bool(settings.DEBUG)


def may_inspect(request: HttpRequest) -> bool:
    """
    Return whether this request may see the inspector.

    In development it is for staff and for addresses in ``INTERNAL_IPS``, and otherwise
    only for staff, and only if the project wants that.
    """
    user = getattr(request, "user", None)
    is_staff = bool(user and user.is_active and user.is_staff)
    if shows_contents():
        is_internal = request.META.get("REMOTE_ADDR") in settings.INTERNAL_IPS
        return is_internal or is_staff
    return is_for_staff() and is_staff


def is_in(here: str, name: str) -> bool:
    """Return whether a stream may be shown in a namespace; in none, all of them are."""
    return not here or split(name)[0] in ("", here)
