"""
The start of a page: where the streams stood before its view read any data.

Django's ``request_started`` comes before everything else; what it is given, the WSGI
environment or the ASGI scope, becomes part of the request, so that is where the moment
is noted. (A context variable would not do: Django runs the signal's receivers in tasks
of their own.)
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from turbo.delivery.broadcast import moment

__all__ = ["note_since", "since_of"]

_KEY = "turbo.since"


def note_since(
    *, environ: dict[str, Any] | None = None, scope: Any = None, **kwargs: Any
) -> None:
    """Take the moment; a receiver of ``request_started``."""
    carrier = scope if environ is None else environ
    if carrier is not None:
        carrier[_KEY] = moment()


def since_of(request: HttpRequest | None) -> str:
    """Return the moment noted for a request, or ``""``."""
    carrier = getattr(request, "scope", None) or getattr(request, "environ", None)
    noted: str = (carrier or {}).get(_KEY, "")
    return noted
