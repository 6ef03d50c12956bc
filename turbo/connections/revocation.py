"""
Ending subscriptions from the server's side, across all processes.

A revocation is a message on the control stream, which every hub hears, with the same
guarantee as any other: one that the layer lost is read from the replay log. A
revocation is also noted in the log for as long as signed names live, so that a page
cannot come back with a name from before.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeVar

from turbo import metrics
from turbo.conf import get_settings
from turbo.connections.permissions import forbidden_keys
from turbo.connections.users import nobody, session_hash
from turbo.connections.visitor import Visitor
from turbo.delivery.broadcast import broadcast, get_publisher
from turbo.delivery.hub import RECHECK
from turbo.delivery.names import CONTROL, user_key
from turbo.delivery.unreadable import json_object, require
from turbo.runtime.tasks import Tasks
from turbo.streams.registry import resolve

__all__ = [
    "Owner",
    "Revocation",
    "RevocationHandler",
    "recheck",
    "revoke",
    "revoke_session",
]

H = TypeVar("H")


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """
    What the connections are to do.

    Those of ``user``, of ``session``, or with a subscription to ``stream`` (an empty
    one means any) end what matches; with ``recheck`` they only ask again.
    """

    user: str = ""
    session: str = ""
    stream: str = ""
    recheck: bool = False

    @classmethod
    @lru_cache(maxsize=16)  # every connection asks the same
    def parse(cls, text: str | None) -> Revocation:
        """
        Return the revocation in a message; ``None`` (lost ones) asks everybody again.

        So does one of which only keys are there that a later version has added. What
        is no revocation at all raises :exc:`~turbo.delivery.unreadable.Unreadable`.
        """
        given = json_object(text) if text else {}
        known = {name: given[name] for name in _TYPES if given.get(name)}
        require(known, **{name: _TYPES[name] for name in known})
        return cls(**known) if known else cls(recheck=True)

    def applies_to(self, visitor: Visitor) -> bool:
        """Return whether a connection of this visitor is meant, or may be."""
        if self.session not in ("", visitor.session_hash):
            return False
        if not self.user or visitor.is_pending:
            return True
        return self.user == user_key(visitor.user)

    def send(self) -> None:
        """Tell all processes."""
        values = {
            "user": self.user,
            "session": self.session,
            "stream": self.stream,
            "recheck": self.recheck,
        }
        revocation = {name: value for name, value in values.items() if value}
        broadcast(CONTROL, json.dumps(revocation))


_TYPES = {"user": str, "session": str, "stream": str, "recheck": bool}


class Owner(Protocol[H]):
    """A connection, as the handler of its revocations sees it."""

    __slots__ = ()

    def held(self) -> Sequence[H]:
        """Return what the client is subscribed to."""

    async def ended_with(self, stream: str, held: Sequence[H]) -> Sequence[H]:
        """Return what ends when access to the stream of this name is revoked."""

    async def refused(self, held: Sequence[H]) -> Sequence[H]:
        """Ask again; return what the client may not have any more."""

    async def end(self, ended: Sequence[H]) -> None:
        """End what was revoked; called, perhaps with nothing, after each revocation."""


class RevocationHandler(Generic[H]):
    """
    What becomes of one connection's subscriptions, whatever they are to.

    Whoever subscribes holds :attr:`lock` from before the permission is asked until the
    subscription is held: a revocation that comes meanwhile waits for that, and then
    finds it. What is held already does not wait. :attr:`generation` tells those who
    cannot hold it that there was a revocation.
    """

    __slots__ = ("_is_stopped", "_owner", "_tasks", "_visitor", "generation", "lock")

    def __init__(self, owner: Owner[H], visitor: Visitor) -> None:
        self._owner = owner
        self._visitor = visitor
        self._tasks = Tasks()
        self._is_stopped = False
        self.lock = asyncio.Lock()
        #: Counts the revocations that have come, without those that come every minute.
        self.generation = 0

    def take(self, text: str | None) -> None:
        """Take a revocation of the control stream; neither blocks nor raises."""
        revocation = Revocation.parse(text)
        if self._is_stopped or not revocation.applies_to(self._visitor):
            return
        if text != RECHECK:
            self.generation += 1
        self._visitor.is_stale = True
        if revocation.session:
            # It has ended, though the database may not have been told yet.
            self._visitor.become(nobody())
        # Whose user nobody has asked for yet holds nothing that could be ended.
        if not self._visitor.is_pending or self.lock.locked():
            if self.lock.locked() and not (
                revocation.recheck or self._visitor.is_pending
            ):
                self._tasks.run(self._end(revocation))  # a test may take long
            self._tasks.run(self._carry_out(revocation))

    async def stop(self) -> None:
        """Carry nothing out any more, nor take anything: the connection ends."""
        self._is_stopped = True
        await self._tasks.stop()

    async def _carry_out(self, revocation: Revocation) -> None:
        async with self.lock:
            if revocation.user:
                await self._visitor.look_up()
                if not revocation.applies_to(self._visitor):
                    return
            await self._end(revocation)

    async def _end(self, revocation: Revocation) -> None:
        ended = await self._ended_by(revocation, self._owner.held())
        metrics.count("revoked", len(ended))
        await self._owner.end(ended)

    async def _ended_by(self, revocation: Revocation, held: Sequence[H]) -> Sequence[H]:
        if revocation.recheck:
            is_same = await self._visitor.reload()
            return await self._owner.refused(held) if is_same else held
        if not revocation.stream:
            return held
        return await self._owner.ended_with(revocation.stream, held)


def revoke(user: Any = None, stream: Any = None) -> None:
    """
    End subscriptions now, in all processes, and refuse names signed before now.

    Pass ``user`` to end all subscriptions of a user, ``stream`` (a stream, an instance,
    or a name) to end those of all users to it, or both. The pages get ``denied`` and do
    not subscribe again; if a user reloads the page, ``user_passes_test`` decides as
    usual::

        room.members.remove(user)
        turbo.revoke(user=user, stream=room)
    """
    if user is None and stream is None:
        raise TypeError("revoke() needs a user, a stream, or both.")
    key = user_key(user) if user is not None else None
    if user is not None and key is None:
        raise ValueError("revoke() needs a user who can log in, not an anonymous one.")
    name = resolve(stream).stream_name if stream is not None else None
    noted = forbidden_keys(name, key)[-1]
    get_publisher().forbid([noted], seconds=get_settings().signed_name_max_age)
    Revocation(user=key or "", stream=name or "").send()


def revoke_session(session_key: str | None) -> None:
    """End the subscriptions of one session: it was logged out."""
    if session_key:
        Revocation(session=session_hash(session_key)).send()


def recheck(user: Any) -> None:
    """Ask again whether ``user`` may see what they are subscribed to."""
    if (key := user_key(user)) is not None:
        Revocation(user=key, recheck=True).send()
