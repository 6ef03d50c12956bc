"""The ASGI application from the documentation of turbo-django."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

get_asgi_application()

from django.urls import path  # noqa: E402
from site_publish import application as publish  # noqa: E402

from turbo.consumers import TurboStreamsConsumer  # noqa: E402

routes = [path("ws/", TurboStreamsConsumer.as_asgi())]
application = ProtocolTypeRouter(
    {"http": publish, "websocket": AuthMiddlewareStack(URLRouter(routes))}
)
