"""A site with every protocol."""

from __future__ import annotations

import os
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
http = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402

from tests.fuzz.world import APPLICATIONS  # noqa: E402

routes: list[Any] = [path(f"ws/{name}/", each) for name, each in APPLICATIONS.items()]
websocket = AuthMiddlewareStack(URLRouter(routes))
application = ProtocolTypeRouter({"http": http, "websocket": websocket})
