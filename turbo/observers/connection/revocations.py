"""End subscriptions when the user logs out or loses access."""

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
    The object through which the hub and revocations reach a consumer.

    Its methods are not methods of the consumer, because a project may use any name for
    an action there.
    """

    def __init__(self, consumer: AsyncAPIConsumer) -> None:
        self._consumer = consumer
        self._errors: dict[Subscription, Exception] = {}
        super().__init__(consumer.scope)

    def deliver(self, frame: Frame) -> None:
        """Drop the pings of the hub, which are not part of this protocol."""

    def held(self) -> Sequence[Subscription]:
        """Return the client's subscriptions."""
        return list(self._consumer.subscriptions)

    async def ended_with(
        self, stream: str, held: Sequence[Subscription]
    ) -> Sequence[Subscription]:
        """Check all subscriptions: access to one may depend on access to another."""
        is_same = await self._consumer.visitor.reload()
        return await self.refused(held) if is_same else held

    async def refused(self, held: Sequence[Subscription]) -> Sequence[Subscription]:
        """Check the permissions for the client's subscriptions again."""
        self._consumer.scope["user"] = self._consumer.visitor.user
        for subscription in held:
            if (error := await subscription.why_refused()) is not None:
                self._errors[subscription] = error
        return list(self._errors)

    async def end(self, ended: Sequence[Subscription]) -> None:
        """End revoked subscriptions, and the connection if it is no longer allowed."""
        consumer = self._consumer
        self._refuse(ended)  # first, because the rest may fail
        self._errors.clear()
        if not await consumer.visitor.refresh():
            self._refuse(self.held())
        consumer.scope["user"] = consumer.visitor.user
        if not await consumer.may_connect():
            self._refuse(self.held())
            # In turn, after the errors have been sent.
            consumer.turns.put(partial(consumer.close, CloseCode.FORBIDDEN))

    def _refuse(self, ended: Sequence[Subscription]) -> None:
        for subscription in ended:
            self._consumer.subscriptions.discard(subscription)
            subscription.refuse(self._errors.get(subscription, PermissionDenied()))
