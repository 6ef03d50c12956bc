"""A site with the JSON clients of bindings and of pub/sub beside its pages."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from turbo.asgi import get_application as get_turbo_application

__all__ = ["application", "authenticate"]


def wait_at_the_door(username: str, what: str) -> None:
    """Say who asks for what; eve waits until the door is open."""
    if not (door := os.environ.get("TURBO_TEST_DOOR")):
        return
    with Path(door).with_suffix(".asked").open("a") as asked:
        asked.write(f"{username} {what}\n")
    while username == "eve" and not Path(door).exists():
        time.sleep(0.005)


def authenticate(token: str) -> Any:
    """Read a token, which takes as long as the door is shut for eve."""
    from turbo.pubsub.tokens import authenticate

    user = authenticate(token)
    wait_at_the_door(user.username if user else "", "token")
    return user


def urlpatterns() -> list[Any]:
    from django.urls import path

    from tests.bindings.app.bindings import Shelf, StoreProducts
    from turbo.bindings import BindingConsumer
    from turbo.pubsub.consumers import PubSubConsumer

    class StoreConsumer(BindingConsumer):
        binding = StoreProducts

    class MembersConsumer(StoreConsumer):
        def user_passes_test(self, user: Any) -> bool:
            wait_at_the_door(user.username, "store")
            return bool(user.is_active and user.email != "out")

    class ShelfConsumer(BindingConsumer):
        binding = Shelf

    return [
        path("store/", StoreConsumer.as_asgi()),
        path("members/", MembersConsumer.as_asgi()),
        path("shelf/<int:stock>/", ShelfConsumer.as_asgi()),
        path("named/<str:stock>/", ShelfConsumer.as_asgi()),
        path("pubsub/", PubSubConsumer.as_asgi()),
    ]


import django  # noqa: E402

django.setup()
application = get_turbo_application(urlpatterns())
