"""The site of the live tests."""

from __future__ import annotations

import os
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
http = get_asgi_application()

from tests.observers.documented.consumers import (  # noqa: E402
    Everything,
    GuardedConsumer,
    GuardedEverything,
    PeopleConsumer,
    UserConsumer,
)

routes: list[Any] = [
    path("ws/", UserConsumer.as_asgi()),
    path("ws/people/", PeopleConsumer.as_asgi()),
    path("ws/all/", Everything.as_asgi()),
    path("ws/guarded/", GuardedConsumer.as_asgi()),
    path("ws/guarded/all/", GuardedEverything.as_asgi()),
]
application = ProtocolTypeRouter({"http": http, "websocket": URLRouter(routes)})
