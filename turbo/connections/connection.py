"""
A connection of the hub: a visitor, a handler of revocations, and a place in the hub.

Everything that serves a client has one. The hub keeps it alive and passes revocations
to it.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal, TypeVar

from turbo.connections.budgets import ConnectionBudget
from turbo.connections.revocation import Owner, RevocationHandler
from turbo.connections.visitor import Visitor
from turbo.delivery.frame import Frame
from turbo.delivery.hub import get_hub
from turbo.runtime.tasks import Tasks
from turbo.typing import Scope

__all__ = ["AdmittedConnection", "LiveConnection", "wait_until_listening"]

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


class AdmittedConnection(LiveConnection["AdmittedConnection"]):
    """One that is let in as a whole or not at all: what it may lose is to be there."""

    is_admitted = False

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.tasks = Tasks()

    async def stop(self) -> None:
        """Leave everything."""
        await self.revocations.stop()  # first, for they may begin tasks
        await self.tasks.stop()
        await super().stop()

    @abstractmethod
    async def may_stay(self) -> bool:
        """Ask again whether the visitor may be here."""

    @abstractmethod
    def deny(self, reason: Literal["revoked"]) -> None:
        """Say why the connection ends, and end it."""

    def held(self) -> Sequence[AdmittedConnection]:
        """Return the one thing that there is to lose: being let in."""
        return [self] if self.is_admitted else []

    async def ended_with(
        self, stream: str, held: Sequence[AdmittedConnection]
    ) -> Sequence[AdmittedConnection]:
        """Return nothing: what this is about is no stream."""
        return []

    async def refused(
        self, held: Sequence[AdmittedConnection]
    ) -> Sequence[AdmittedConnection]:
        """Ask again whether the visitor may be here."""
        return [] if await self.may_stay() else held

    async def end(self, ended: Sequence[AdmittedConnection]) -> None:
        """End the connection if it was revoked."""
        if ended:
            self.is_admitted = False
            self.deny("revoked")
