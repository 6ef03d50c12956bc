"""The page of the inspector."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from turbo.inspector.history import history
from turbo.inspector.report import report

__all__ = ["inspector"]


@login_not_required  # users without permission get a 404, not a log-in page
@never_cache
@require_safe
def inspector(request: HttpRequest) -> HttpResponse:
    """Show the report, or respond with 404 to users who may not see it."""
    if not may_inspect(request):
        raise Http404
    return render(request, "turbo/inspector/page.html", report(history))


def may_inspect(request: HttpRequest) -> bool:
    """
    Return whether this request may see the inspector.

    As it shows messages to all users, it is available only in development, and only to
    staff or from an address in ``INTERNAL_IPS``.
    """
    if not settings.DEBUG:
        return False
    is_internal = request.META.get("REMOTE_ADDR") in settings.INTERNAL_IPS
    user = getattr(request, "user", None)
    return is_internal or bool(user and user.is_active and user.is_staff)
