"""The site of the live tests: sockets for three bindings."""

from __future__ import annotations

import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application
from django.urls import path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
http = get_asgi_application()

from tests.bindings.app.bindings import Alphabet, Ranking, StoreProducts  # noqa: E402
from turbo.bindings import BindingConsumer  # noqa: E402


class StoreConsumer(BindingConsumer):
    event = "store"
    binding = StoreProducts


class RankingConsumer(BindingConsumer):
    event = "ranking"
    binding = Ranking


class AlphabetConsumer(BindingConsumer):
    event = "alphabet"
    binding = Alphabet


application = ProtocolTypeRouter(
    {
        "http": http,
        "websocket": URLRouter(
            [
                path("store/", StoreConsumer.as_asgi()),
                path("ranking/", RankingConsumer.as_asgi()),
                path("alphabet/", AlphabetConsumer.as_asgi()),
            ]
        ),
    }
)
