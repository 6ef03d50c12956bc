"""Handlers that are called for signals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.db import transaction
from django.dispatch import Signal

import turbo
from tests.observers.clients import Client
from tests.support.listening import rolled_back
from turbo.observers import AsyncAPIConsumer, observer

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

rang = Signal()


class BellConsumer(AsyncAPIConsumer):
    async def accept(self, *args: Any, **kwargs: Any) -> None:
        await self.bell.subscribe(door=self.scope["door"])
        await super().accept(*args, **kwargs)

    @observer(rang)
    async def bell(self, message: Any, observer: Any = None, **kwargs: Any) -> None:
        await self.send_json(message)

    @bell.serializer
    def bell(self, sender: Any, times: int, **kwargs: Any) -> Any:
        return {"times": times}

    @bell.groups_for_signal
    def bell(self, door: str, **kwargs: Any) -> Iterator[str]:
        yield door

    @bell.groups_for_consumer
    def bell(self, door: str, **kwargs: Any) -> Iterator[str]:
        yield door


def ring(door: str, times: int, **kwargs: Any) -> None:
    rang.send(None, door=door, times=times, **kwargs)


async def test_handler_is_called_for_signals_of_its_group(layer: str) -> None:
    async with (
        Client(BellConsumer, door="front") as front,
        Client(BellConsumer, door="back") as back,
    ):
        await sync_to_async(ring)("front", 1)
        await sync_to_async(ring)("back", 2)

        assert await front.next() == {"times": 1}
        assert await back.next() == {"times": 2}
        assert await front.nothing()


async def test_signals_of_a_transaction_are_told_after_its_commit() -> None:
    def ring_in_transactions() -> None:
        with rolled_back():
            ring("front", 1)
        with transaction.atomic():
            ring("front", 2)
            with turbo.suppress():
                ring("front", 3)

    async with Client(BellConsumer, door="front") as client:
        await sync_to_async(ring_in_transactions)()

        assert await client.next() == {"times": 2}
        assert await client.nothing()


async def test_a_failing_serializer_harms_no_sender(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await sync_to_async(rang.send)(None)

    assert "cannot send a signal to clients" in caplog.text


async def test_log_in_as_documented() -> None:
    class LogInConsumer(AsyncAPIConsumer):
        async def accept(self, *args: Any, **kwargs: Any) -> None:
            await self.handle_log_in.subscribe()
            await super().accept(*args, **kwargs)

        @observer(user_logged_in)
        async def handle_log_in(self, message: Any, **kwargs: Any) -> None:
            await self.send_json({"seen": message})

    user = await User.objects.acreate(username="ann")
    async with Client(LogInConsumer) as client:
        await sync_to_async(user_logged_in.send)(User, user=user, request=None)

        assert await client.next() == {"seen": {}}
