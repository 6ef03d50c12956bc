"""A site with a socket of each kind, for whoever wants to see them end."""

from __future__ import annotations

import os
from typing import Any

from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
get_asgi_application()  # sets Django up

from tests.bindings.app.bindings import StoreProducts  # noqa: E402
from tests.observers.app.consumers import PersonConsumer  # noqa: E402
from turbo.asgi import get_application  # noqa: E402
from turbo.bindings import BindingConsumer  # noqa: E402
from turbo.pubsub.consumers import PubSubConsumer  # noqa: E402


class StoreConsumer(BindingConsumer):
    event = "store"
    binding = StoreProducts


routes: list[Any] = [
    path("people/", PersonConsumer.as_asgi()),
    path("store/", StoreConsumer.as_asgi()),
    path("changes/", PubSubConsumer.as_asgi()),
]
application = get_application(routes)
