"""
The whole ASGI stack in one line.

``asgi.py`` of a project::

    import os

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

    from turbo.asgi import get_application

    application = get_application()
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.core.asgi import get_asgi_application

from turbo.routing import get_websocket_urlpatterns

__all__ = ["get_application"]


def get_application(websocket_urlpatterns: Sequence[Any] = ()) -> ProtocolTypeRouter:
    """
    Return Django over HTTP, and over WebSocket the streams behind origin and log-in.

    A WebSocket is taken only from pages of ``ALLOWED_HOSTS``. Further consumers go into
    ``websocket_urlpatterns``; they come before the streams' own path.
    """
    http = get_asgi_application()  # sets Django up, so it comes first
    routes = [*websocket_urlpatterns, *get_websocket_urlpatterns()]
    websocket = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(routes)))
    return ProtocolTypeRouter({"http": http, "websocket": websocket})
