"""
What becomes of a consumer when its user logs out, or may no longer see something.

Orders come over the control stream, as those for pages do: ``turbo.revoke()``, a
log-out, a changed or deleted user, and the periodic re-check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.exceptions import PermissionDenied

from turbo import metrics
from turbo.hub import RECHECK
from turbo.identity import reload_user, scope_user, session_hash
from turbo.names import user_key
from turbo.protocol import CloseCode
from turbo.revocation import Order

if TYPE_CHECKING:
    from turbo.observers.consumers import AsyncAPIConsumer

__all__ = ["concerns", "obey"]


def concerns(order: Order, text: str | None, consumer: AsyncAPIConsumer) -> bool:
    """Return whether a consumer has something to do for an order."""
    user = scope_user(consumer.scope)
    session = getattr(consumer.scope.get("session"), "session_key", None)
    if not order.concerns(user=user_key(user), session=session_hash(session)):
        return False
    # Where only the user counts, nothing changes without an order of its own.
    return text != RECHECK or consumer.asks_per_event()


async def obey(consumer: AsyncAPIConsumer, order: Order) -> None:
    """Carry an order out."""
    async with consumer.revoking:
        if order.recheck or order.stream:
            # Access to something else may have been what gave access to this.
            await _recheck(consumer)
        else:
            _end(consumer, list(consumer.subscriptions))
            await _look_again(consumer)


async def _recheck(consumer: AsyncAPIConsumer) -> None:
    """Ask again for what the client holds."""
    if not await _look_again(consumer):
        return
    if not await consumer.may_connect():
        _end(consumer, list(consumer.subscriptions))
        await consumer.close(CloseCode.FORBIDDEN)
        return
    for held in consumer.subscriptions:
        if (error := await held.why_refused()) is not None:
            _end(consumer, [held], error)


async def _look_again(consumer: AsyncAPIConsumer) -> bool:
    """Learn who the user is by now; return whether that is who it was."""
    before = scope_user(consumer.scope)
    user = await reload_user(consumer.scope.get("session"), before)
    consumer.scope["user"] = user
    if user_key(user) == user_key(before):
        return True
    _end(consumer, list(consumer.subscriptions))
    if not await consumer.may_connect():
        await consumer.close(CloseCode.FORBIDDEN)
    return False


def _end(
    consumer: AsyncAPIConsumer, ended: list[Any], error: Exception | None = None
) -> None:
    for held in ended:
        consumer.subscriptions.discard(held)
        held.refuse(error or PermissionDenied())
    metrics.count("revoked", len(ended))
