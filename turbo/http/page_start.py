"""
The moment at which the request for a page began, before its view read any data.

Django sends ``request_started`` before everything else. Its argument, the WSGI
environment or the ASGI scope, becomes a part of the request, so the moment is stored
there. A context variable would not work, because Django runs the receivers of the
signal in separate tasks.
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
    """Store the moment; a receiver of ``request_started``."""
    carrier = scope if environ is None else environ
    if carrier is not None:
        carrier[_KEY] = moment()


def since_of(request: HttpRequest | None) -> str:
    """Return the moment of a request, or ``""``."""
    carrier = getattr(request, "scope", None) or getattr(request, "environ", None)
    noted: str = (carrier or {}).get(_KEY, "")
    return noted
