"""The user for whom a page is rendered, in async views as well."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import SynchronousOnlyOperation
from django.http import HttpRequest

from turbo.delivery.names import user_key
from turbo.runtime.threads import outside_loop

__all__ = ["user_of"]


def user_of(request: HttpRequest | None) -> Any:
    """
    Return the user of a request, or ``None`` if there is no user.

    ``request.user`` reads the session and the user on first use, which Django forbids
    in the event loop. If an async view has called ``await request.auser()``, that user
    is taken; otherwise a thread reads them while the view waits.
    """
    user = getattr(request, "user", None)
    try:
        user_key(user)
    except SynchronousOnlyOperation:
        request = getattr(request, "_request", request)
        if hasattr(request, "_acached_user"):
            request._cached_user = request._acached_user  # type: ignore[union-attr]
            return user
        outside_loop(lambda: user_key(user))
    return user
