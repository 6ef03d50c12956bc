"""The observers of the site that is attacked."""

from __future__ import annotations

import asyncio
from typing import Any

from django.urls import path

from tests.observers.documented.consumers import PeopleConsumer
from turbo.observers import action, detached

__all__ = ["urlpatterns"]


class Attacked(PeopleConsumer):
    """Lists with any arguments, and an action that runs beside everything else."""

    @action()
    @detached
    async def linger(self, **kwargs: Any) -> tuple[None, int]:
        await asyncio.sleep(5)
        return None, 200


urlpatterns = [path("ws/people/", Attacked.as_asgi())]
