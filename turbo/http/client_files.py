"""The modules of the client among the static files, minified or not."""

from __future__ import annotations

from django.conf import settings

__all__ = ["client_file"]


def client_file(name: str) -> str:
    """
    Return the path of a module for ``{% static %}``.

    ``turbo.js`` is ``turbo/turbo.min.js``, and with ``DEBUG`` ``turbo/turbo.js``.
    """
    if settings.DEBUG:
        return f"turbo/{name}"
    return f"turbo/{name.removesuffix('.js')}.min.js"
