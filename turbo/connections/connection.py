"""
A connection of the hub: a visitor, a handler of revocations, and a place in the hub.

Everything that serves a client has one. The hub keeps it alive and passes revocations
to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from turbo.connections.budgets import ConnectionBudget
from turbo.connections.revocation import Owner, RevocationHandler
from turbo.connections.visitor import Visitor
from turbo.delivery.frame import Frame
from turbo.delivery.hub import get_hub
from turbo.typing import Scope

__all__ = ["LiveConnection", "wait_until_listening"]

H = TypeVar("H")

#: Seconds that a client waits until its process hears revocations.
PATIENCE = 2.0


async def wait_until_listening() -> None:
    """Return when revocations are heard; if that takes long, they are asked later."""
    with suppress(TimeoutError):  # asked again as soon as revocations are heard
        async with asyncio.timeout(PATIENCE):
            await get_hub().wait_until_listening()


class LiveConnection(Owner[H]):
    """The server's side of one client, until :meth:`stop`."""

    __slots__ = ("hub", "revocations", "visitor")

    #: Takes what the hub sends: a frame of a stream, or a ping to all.
    deliver: Callable[[Frame], None]

    def __init__(self, scope: Scope) -> None:
        self.visitor = Visitor(scope)
        self.revocations = RevocationHandler[H](self, self.visitor)
        self.hub = get_hub()
        self.hub.connect(self)

    @property
    def budget(self) -> ConnectionBudget:
        """Return what the client may ask for."""
        return self.visitor.budget

    def apply_revocation(self, revocation: str | None) -> None:
        """Take a revocation of the control stream."""
        self.revocations.take(revocation)

    async def stop(self) -> None:
        """Leave everything."""
        await self.revocations.stop()
        self.visitor.budget.close()
        await self.hub.disconnect(self)
