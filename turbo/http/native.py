"""
Navigation in apps made with Hotwire Native.

Such an app treats three URLs as commands: recede (go back), resume (stay) and refresh.
The functions redirect an app to one of these URLs, and everybody else to a page. The
URLs are in ``turbo.urls``; for clients that load them, they return a single word.
"""

from __future__ import annotations

import re
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import resolve_url
from django.urls import path, reverse
from django.utils.cache import patch_vary_headers
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_safe

from turbo.http.forms import see_other

__all__ = [
    "is_native",
    "recede_or_redirect_to",
    "refresh_or_redirect_to",
    "resume_or_redirect_to",
    "urlpatterns",
]

_USER_AGENT = re.compile(r"(Turbo|Hotwire) Native")


def is_native(request: HttpRequest) -> bool:
    """Return whether the request comes from an app made with Hotwire Native."""
    return _USER_AGENT.search(request.headers.get("User-Agent", "")) is not None


def recede_or_redirect_to(
    request: HttpRequest, to: Any, *, back: bool = False
) -> HttpResponseBase:
    """
    Let an app close its modal or go back; redirect a browser to ``to``.

    ``to`` is an argument for ``redirect()``. With ``back=True`` a browser returns to
    the page that it came from, or to ``to`` if the request does not name that page.
    """
    return _command(request, "recede_historical_location", to, back=back)


def resume_or_redirect_to(
    request: HttpRequest, to: Any, *, back: bool = False
) -> HttpResponseBase:
    """Let an app stay where it is; otherwise like :func:`recede_or_redirect_to`."""
    return _command(request, "resume_historical_location", to, back=back)


def refresh_or_redirect_to(
    request: HttpRequest, to: Any, *, back: bool = False
) -> HttpResponseBase:
    """Let an app reload its screen; otherwise like :func:`recede_or_redirect_to`."""
    return _command(request, "refresh_historical_location", to, back=back)


def _command(
    request: HttpRequest, name: str, to: Any, *, back: bool
) -> HttpResponseBase:
    if is_native(request):
        location = reverse(f"turbo:{name}")
    else:
        location = (back and _referrer(request)) or resolve_url(to)
    response = see_other(request, HttpResponseRedirect(location))
    patch_vary_headers(response, ["User-Agent"])
    return response


def _referrer(request: HttpRequest) -> str:
    """Return the address of the previous page, or ``""`` if it is on another site."""
    referrer: str = request.headers.get("Referer", "")
    ours = url_has_allowed_host_and_scheme(
        referrer, {request.get_host()}, require_https=request.is_secure()
    )
    return referrer if ours else ""


@require_safe
def recede(request: HttpRequest) -> HttpResponse:
    """Respond to an app that loads this URL instead of going back."""
    return HttpResponse("Going back…")


@require_safe
def resume(request: HttpRequest) -> HttpResponse:
    """Respond to an app that loads this URL instead of staying where it is."""
    return HttpResponse("Staying here…")


@require_safe
def refresh(request: HttpRequest) -> HttpResponse:
    """Respond to an app that loads this URL instead of reloading its screen."""
    return HttpResponse("Loading again…")


urlpatterns = [
    path("recede_historical_location", recede, name="recede_historical_location"),
    path("resume_historical_location", resume, name="resume_historical_location"),
    path("refresh_historical_location", refresh, name="refresh_historical_location"),
]
