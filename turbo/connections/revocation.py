"""
Revocations, by which the server ends subscriptions in all processes.

A revocation is a message on the control stream, which every hub receives, with the same
guarantee as other messages: one that the layer lost is read from the replay log. The
log also stores it for as long as signed names are valid, so that a page cannot
subscribe again with an earlier name.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeVar

from turbo import metrics
from turbo.changes.transaction import Outcome, after_transactions
from turbo.conf import get_settings
from turbo.connections.permissions import forbidden_keys
from turbo.connections.users import session_hash
from turbo.connections.visitor import Visitor
from turbo.delivery.broadcast import broadcast, get_publisher
from turbo.delivery.hub import RECHECK
from turbo.delivery.names import CONTROL, user_key
from turbo.delivery.unreadable import json_object, require
from turbo.runtime.namespaces import entered, in_namespace, join
from turbo.runtime.nobody import nobody
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

#: Seconds by which the clock of a machine that signs names may be ahead.
CLOCKS = 3_600


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """
    The instruction to connections to end subscriptions.

    It applies to subscriptions that match ``user``, ``session`` and ``stream``; an
    empty value matches all. With ``recheck``, the connections only check their
    permissions again. The user and the stream are given as they are in their namespace.
    """

    user: str = ""
    session: str = ""
    stream: str = ""
    recheck: bool = False

    @classmethod
    @lru_cache(maxsize=16)  # every connection parses the same text
    def parse(cls, text: str | None) -> Revocation:
        """
        Return the revocation in a message.

        ``None``, which stands for lost revocations, makes everybody check again. So
        does a message that has only keys of a later version. Raises
        :exc:`~turbo.delivery.unreadable.Unreadable` for anything else.
        """
        given = json_object(text) if text else {}
        known = {name: given[name] for name in _TYPES if given.get(name)}
        require(known, **{name: _TYPES[name] for name in known})
        return cls(**known) if known else cls(recheck=True)

    def applies_to(self, visitor: Visitor) -> bool:
        """Return whether the revocation applies, or may apply, to this visitor."""
        if self.session not in ("", visitor.session_hash):
            return False
        if not self.user or visitor.is_pending:
            return True
        key = user_key(visitor.user)
        return key is not None and self.user == join(visitor.namespace, key)

    def send(self) -> None:
        """Send the revocation to all processes."""
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
    """The interface of a connection for its handler of revocations."""

    __slots__ = ()

    def held(self) -> Sequence[H]:
        """Return the client's subscriptions."""

    async def ended_with(self, stream: str, held: Sequence[H]) -> Sequence[H]:
        """Return the subscriptions that end when access to ``stream`` is revoked."""

    async def refused(self, held: Sequence[H]) -> Sequence[H]:
        """Check permissions again; return the subscriptions that the client loses."""

    async def end(self, ended: Sequence[H]) -> None:
        """End subscriptions; called after each revocation, perhaps with none."""


class RevocationHandler(Generic[H]):
    """
    Applies revocations to the subscriptions of one connection, of any kind.

    Code that subscribes holds :attr:`lock` from before the permission test until the
    subscription exists. A revocation that comes meanwhile waits for the lock and then
    finds the subscription; existing subscriptions end without waiting. Code that cannot
    hold the lock compares :attr:`generation` to find out if there was a revocation.
    """

    __slots__ = ("_is_stopped", "_owner", "_tasks", "_visitor", "generation", "lock")

    def __init__(self, owner: Owner[H], visitor: Visitor) -> None:
        self._owner = owner
        self._visitor = visitor
        self._tasks = Tasks()
        self._is_stopped = False
        self.lock = asyncio.Lock()
        #: The number of revocations so far, without the regular rechecks.
        self.generation = 0

    def take(self, text: str | None) -> None:
        """Apply a revocation of the control stream without blocking."""
        revocation = Revocation.parse(text)
        if self._is_stopped or not revocation.applies_to(self._visitor):
            return
        if text != RECHECK:
            self.generation += 1
        self._visitor.is_stale = True
        if revocation.session:
            # The session has ended, but the database may not show this yet.
            self._visitor.become(nobody())
        # While nobody has looked up the user, there are no subscriptions to end.
        if not self._visitor.is_pending or self.lock.locked():
            with entered(self._visitor.namespace):  # the caller is the hub
                self._run(revocation)

    def _run(self, revocation: Revocation) -> None:
        if self.lock.locked() and not (revocation.recheck or self._visitor.is_pending):
            self._tasks.run(self._end(revocation))  # a test may take long
        self._tasks.run(self._carry_out(revocation))

    async def stop(self) -> None:
        """Stop applying revocations, because the connection ends."""
        self._is_stopped = True
        await self._tasks.stop()

    async def _carry_out(self, revocation: Revocation) -> None:
        async with self.lock:
            if revocation.user:
                await self._visitor.look_up()
                if not revocation.applies_to(self._visitor):
                    return
            await self._end(revocation)

    async def end_all(self) -> None:
        """End all subscriptions, because the visitor is somebody else now."""
        await self._end_these(self._owner.held())

    async def _end(self, revocation: Revocation) -> None:
        await self._end_these(await self._ended_by(revocation, self._owner.held()))

    async def _end_these(self, ended: Sequence[H]) -> None:
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
    End subscriptions in all processes, and refuse names signed before now.

    Inside a transaction, this waits for the commit; *now* is the time of the commit.

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
    key = key and in_namespace(key)
    name = resolve(stream).stream_name if stream is not None else None
    noted = forbidden_keys(name, key)[-1]
    revocation = Revocation(user=key or "", stream=name or "")

    def act(outcome: Outcome) -> None:
        if outcome != "rolled back":
            seconds = get_settings().signed_name_max_age + CLOCKS
            get_publisher().forbid([noted], seconds=seconds)
            revocation.send()

    after_transactions(act)


def revoke_session(session_key: str | None) -> None:
    """End the subscriptions of one session, which was logged out."""
    if session_key:
        revocation = Revocation(session=session_hash(session_key))
        # The session may have ended although the transaction was rolled back.
        after_transactions(lambda outcome: revocation.send())


def recheck(user: Any) -> None:
    """Check again whether ``user`` may see the streams of their subscriptions."""
    if (key := user_key(user)) is not None:
        Revocation(user=in_namespace(key), recheck=True).send()
