"""A site with the JSON clients of bindings and of pub/sub beside its pages."""

from __future__ import annotations

from typing import Any

from turbo.asgi import get_application as get_turbo_application

__all__ = ["application"]


def urlpatterns() -> list[Any]:
    from django.urls import path

    from tests.bindings.app.bindings import StoreProducts
    from tests.guarantee.json_hooks import Shelf, wait_at_the_door
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
