from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "observed_settings")

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

http = get_asgi_application()

import queries  # noqa: E402
from django.urls import path  # noqa: E402
from people.consumers import PersonConsumer  # noqa: E402

queries.count_from_now_on()
socket: Any = PersonConsumer.as_asgi()
application = ProtocolTypeRouter(
    {"http": http, "websocket": URLRouter([path("ws/", socket)])}
)
