"""
The connection of a client to the hub, with its visitor and handler of revocations.

Everything that serves a client has one. The hub sends pings and revocations to it.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Literal, TypeVar

from turbo.connections.budgets import ConnectionBudget
from turbo.connections.revocation import Owner, RevocationHandler
from turbo.connections.visitor import Visitor
from turbo.delivery.frame import Frame
from turbo.delivery.hub import get_hub
from turbo.runtime.namespaces import entered
from turbo.runtime.tasks import Tasks, detach
from turbo.typing import Scope

__all__ = ["AdmittedConnection", "LiveConnection", "wait_until_listening", "whole"]

H = TypeVar("H")

#: Seconds that a client waits until its process receives revocations.
PATIENCE = 2.0


async def wait_until_listening() -> None:
    """Wait until the hub receives revocations, or for ``PATIENCE`` seconds."""
    with suppress(TimeoutError):  # the hub checks again when it receives them
        async with asyncio.timeout(PATIENCE):
            await get_hub().wait_until_listening()


#: The connections that one piece of code makes, to be stopped if it fails.
_made: ContextVar[list[LiveConnection[Any]] | None] = ContextVar(
    "turbo_connections", default=None
)


@contextmanager
def whole() -> Iterator[None]:
    """Stop the connections that are made inside the block if it fails."""
    made: list[LiveConnection[Any]] = []
    token = _made.set(made)
    try:
        yield
    except BaseException:
        for connection in made:
            detach(connection.stop())
        raise
    finally:
        _made.reset(token)


class LiveConnection(Owner[H]):
    """The server's side of one client, until :meth:`stop`."""

    __slots__ = ("hub", "revocations", "visitor")

    #: Takes a frame from the hub: of a stream, or a ping to all.
    deliver: Callable[[Frame], None]

    def __init__(self, scope: Scope) -> None:
        self.visitor = Visitor(scope)
        self.revocations = RevocationHandler[H](self, self.visitor)
        self.hub = get_hub()
        self.hub.connect(self)
        if (made := _made.get()) is not None:
            made.append(self)

    @property
    def budget(self) -> ConnectionBudget:
        """Return the budget of the client."""
        return self.visitor.budget

    def apply_revocation(self, revocation: str | None) -> None:
        """Apply a revocation of the control stream."""
        self.revocations.take(revocation)

    async def stop(self) -> None:
        """Leave the hub and release everything."""
        try:
            await self.revocations.stop()
        finally:
            self.visitor.budget.close()
            await self.hub.disconnect(self)


class AdmittedConnection(LiveConnection["AdmittedConnection"]):
    """A connection with a single permission: to be connected."""

    is_admitted = False

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.tasks = Tasks()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a task of this connection, also if the hub is the caller."""
        with entered(self.visitor.namespace):
            self.tasks.run(work)

    async def stop(self) -> None:
        """Leave the hub and cancel all tasks."""
        async with AsyncExitStack() as stack:  # all of it, even if cancelled half-way
            stack.push_async_callback(super().stop)
            stack.push_async_callback(self.tasks.stop)
            await self.revocations.stop()  # first, because they may start tasks

    @abstractmethod
    async def may_stay(self) -> bool:
        """Return whether the visitor may still be connected."""

    @abstractmethod
    def deny(self, reason: Literal["revoked"]) -> None:
        """Tell the client the reason, and end the connection."""

    def held(self) -> Sequence[AdmittedConnection]:
        """Return the connection itself, if it has been admitted."""
        return [self] if self.is_admitted else []

    async def ended_with(
        self, stream: str, held: Sequence[AdmittedConnection]
    ) -> Sequence[AdmittedConnection]:
        """Return nothing, because this connection has no streams."""
        return []

    async def refused(
        self, held: Sequence[AdmittedConnection]
    ) -> Sequence[AdmittedConnection]:
        """Return the connection itself if the visitor may not stay."""
        return [] if await self.may_stay() else held

    async def end(self, ended: Sequence[AdmittedConnection]) -> None:
        """End the connection if it was revoked."""
        if ended:
            self.is_admitted = False
            self.deny("revoked")
