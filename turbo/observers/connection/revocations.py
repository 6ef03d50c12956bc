"""What a consumer does when its user logs out, or may no longer see something."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from rest_framework.exceptions import PermissionDenied

from turbo.connections.connection import LiveConnection
from turbo.delivery.frame import Frame
from turbo.delivery.protocol import CloseCode
from turbo.observers.connection.subscriptions import Subscription

if TYPE_CHECKING:
    from turbo.observers.consumers import AsyncAPIConsumer

__all__ = ["RevocableConsumer"]


class RevocableConsumer(LiveConnection[Subscription]):
    """
    A consumer, as the hub and the handler of its revocations see it.

    It is no part of the consumer, whose names are those of its actions.
    """

    def __init__(self, consumer: AsyncAPIConsumer) -> None:
        self._consumer = consumer
        self._errors: dict[Subscription, Exception] = {}
        super().__init__(consumer.scope)

    def deliver(self, frame: Frame) -> None:
        """Leave out the hub's pings, which are no part of this protocol."""

    def held(self) -> Sequence[Subscription]:
        """Return what the client is subscribed to."""
        return list(self._consumer.subscriptions)

    async def ended_with(
        self, stream: str, held: Sequence[Subscription]
    ) -> Sequence[Subscription]:
        """Ask for everything: access to something else may have given access to it."""
        is_same = await self._consumer.visitor.reload()
        return await self.refused(held) if is_same else held

    async def refused(self, held: Sequence[Subscription]) -> Sequence[Subscription]:
        """Ask again for what the client holds."""
        self._consumer.scope["user"] = self._consumer.visitor.user
        for subscription in held:
            if (error := await subscription.why_refused()) is not None:
                self._errors[subscription] = error
        return list(self._errors)

    async def end(self, ended: Sequence[Subscription]) -> None:
        """End what was revoked, and the connection if nobody may have it any more."""
        consumer = self._consumer
        self._refuse(ended)  # first, for the rest may fail
        self._errors.clear()
        await consumer.visitor.refresh()
        consumer.scope["user"] = consumer.visitor.user
        if not await consumer.may_connect():
            self._refuse(self.held())
            # Once the client has been told why.
            consumer.turns.put(partial(consumer.close, CloseCode.FORBIDDEN))

    def _refuse(self, ended: Sequence[Subscription]) -> None:
        for subscription in ended:
            self._consumer.subscriptions.discard(subscription)
            subscription.refuse(self._errors.get(subscription, PermissionDenied()))
