"""
Responses with the names of one user, which no cache may give to another user.

``cache_page`` runs inside of the middleware, so the header ``Cache-Control: private``
would come too late for it. Django's caches ask the request whether they may store the
response.
"""

from __future__ import annotations

from django.http import HttpRequest

__all__ = ["keep_private"]


def keep_private(request: HttpRequest | None) -> None:
    """
    Keep the response to a request from Django's cache, and from shared caches.

    For the latter, :class:`~turbo.middleware.TurboMiddleware` sets the header. Browsers
    may still keep the page for their user.
    """
    if request is None:
        return
    # Django REST framework wraps the request.
    request = getattr(request, "_request", request)
    request._cache_update_cache = False  # type: ignore[union-attr]
    details = getattr(request, "turbo", None)
    if details is not None:
        details.is_private = True
