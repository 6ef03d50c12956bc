"""The page of the inspector, and the same as JSON."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from turbo.inspector.access import is_for_staff, may_inspect, shows_contents
from turbo.inspector.history import history
from turbo.inspector.overview import overview
from turbo.inspector.report import report

__all__ = ["data", "inspector"]


@login_not_required  # users without permission get a 404, not a log-in page
@never_cache
@require_safe
def inspector(request: HttpRequest) -> HttpResponse:
    """Show the page, or respond with 404 to users who may not see it."""
    if not may_inspect(request):
        raise Http404
    context: dict[str, Any] = {"shows_contents": shows_contents()}
    if is_for_staff():
        context["overview"] = overview()
    if shows_contents():
        context |= report(history)
    return render(request, "turbo/inspector/page.html", context)


@login_not_required
@never_cache
@require_safe
def data(request: HttpRequest) -> HttpResponse:
    """Return the state of all processes as JSON, if the project lets staff see it."""
    if not (is_for_staff() and may_inspect(request)):
        raise Http404
    return JsonResponse(overview())
