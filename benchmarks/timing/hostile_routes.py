"""The observers of the attacked site."""

from __future__ import annotations

import asyncio
from typing import Any

from django.urls import path

from tests.observers.documented.consumers import PeopleConsumer
from turbo.observers import action, detached

__all__ = ["urlpatterns"]


class Attacked(PeopleConsumer):
    """A consumer with lists that take any arguments, and a detached action."""

    @action()
    @detached
    async def linger(self, **kwargs: Any) -> tuple[None, int]:
        await asyncio.sleep(5)
        return None, 200


urlpatterns = [path("ws/people/", Attacked.as_asgi())]
