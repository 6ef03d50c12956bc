"""As the documentation of turbo-django has it."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.core.asgi import get_asgi_application  # noqa: E402

http = get_asgi_application()

from django.urls import path  # noqa: E402
from turbo.consumers import TurboStreamsConsumer  # noqa: E402

routes = [path("ws/", TurboStreamsConsumer.as_asgi())]
application = ProtocolTypeRouter(
    {"http": http, "websocket": AuthMiddlewareStack(URLRouter(routes))}
)
