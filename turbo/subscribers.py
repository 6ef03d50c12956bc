"""
One subscriber: a socket or an SSE response, with its session, its user and the hub.

What it is told goes through ``emit``, in order; how it is closed is its transport's
business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from channels.db import database_sync_to_async

from turbo import metrics
from turbo.conf import get_settings
from turbo.errands import Errands
from turbo.frame import Frame
from turbo.gate import Grant, Refusal, Verdict, admit, passes
from turbo.hub import get_hub
from turbo.identity import (
    at_rest,
    is_pending,
    reload_user,
    scope_user,
    session_hash,
)
from turbo.names import user_key
from turbo.protocol import (
    Limits,
    Pinged,
    Session,
    Subscribe,
    Subscription,
    Unsubscribe,
    Wanted,
)
from turbo.registry import from_name
from turbo.revocation import Order
from turbo.topic import Arrival
from turbo.typing import Scope

__all__ = ["LiveSubscriber"]

logger = logging.getLogger("turbo.subscribers")


class LiveSubscriber:
    """The server's side of one connection."""

    def __init__(self, scope: Scope, emit: Callable[[Frame], None]) -> None:
        settings = get_settings()
        self.deliver = emit
        self._login = scope.get("session")  # what says who the user is
        self._user = scope_user(scope)
        self._is_stale = False  # whether something may have happened to the user
        self._session = Session(
            Limits(
                frame_bytes=settings.max_frame_bytes,
                streams=settings.max_streams,
                name_chars=4 * settings.max_name_length,
            )
        )
        self._hub = get_hub()
        self._hub.connect(self)
        self._errands = Errands()
        self._lock = asyncio.Lock()  # one change of the subscriptions at a time

    async def receive(self, text: str | None) -> None:
        """Act on one frame of the client."""
        match self._session.receive(text):
            case Subscribe(wanted):
                async with self._lock:
                    await self.subscribe(wanted)
            case Unsubscribe(ended, frames):
                async with self._lock:
                    self._leave(ended)
                    self._say(frames)
            case Pinged(frame):
                self._say([frame])
            case refused:
                metrics.count("bad_frames")
                self._say([refused.frame])

    async def subscribe(self, wanted: Sequence[Wanted]) -> list[Verdict]:
        """Subscribe to what the user may see of ``wanted``, and say how it went."""
        try:
            if self._is_stale:
                await self._reload_user()
            verdicts = await admit([item.signed for item in wanted], self._user)
            grants = self._within_limits(verdicts)
            arrivals = await self._hub.subscribe(
                self, [(g.subscription.sid, _since(g, wanted)) for g in grants]
            )
        except Exception as error:
            logger.info("Subscriptions must wait: %s", error)
            held = self._held(wanted)
            self._say(self._session.retry(item.signed) for item in wanted)
            self._leave(held)
            return []
        # From here to settle() nothing is awaited: arrivals come before live messages.
        held = self._held(wanted)
        self._say(
            self._session.deny(verdict.signed, reason=verdict.reason)
            for verdict in verdicts
            if isinstance(verdict, Refusal)
        )
        for grant, arrival in zip(grants, arrivals, strict=True):
            self._welcome(grant, arrival)
        self._leave(held)
        self._hub.settle(arrivals)
        self._login, self._user = at_rest(self._login, self._user)
        return verdicts

    def obey(self, order: str | None) -> None:
        """Take an order of the control stream."""
        parsed = Order.parse(order)
        is_unknown = parsed.user and is_pending(self._user)
        if not is_unknown and not self._is_meant(parsed):
            return
        self._is_stale = True
        if self._session.subscriptions or self._lock.locked():
            self._errands.run(self._obey(parsed))

    async def stop(self) -> None:
        """Leave everything."""
        await self._errands.stop()
        await self._hub.disconnect(self)

    def _within_limits(self, verdicts: list[Verdict]) -> list[Grant]:
        grants: list[Grant] = []
        room = self._session.limits.streams - len(self._session.subscriptions)
        for place, verdict in enumerate(verdicts):
            if isinstance(verdict, Refusal):
                continue
            signed = verdict.subscription.signed
            is_new = signed not in self._session.subscriptions
            if is_new and not room:
                verdicts[place] = Refusal(signed, "limit")
            else:
                room -= is_new
                grants.append(verdict)
        return grants

    def _welcome(self, grant: Grant, arrival: Arrival) -> None:
        accepted = self._session.accept(
            grant.subscription, position=arrival.position, recovered=arrival.recovered
        )
        self._say([accepted])
        for frame in arrival.frames:
            self.deliver(frame)

    async def _obey(self, order: Order) -> None:
        async with self._lock:
            if order.user and is_pending(self._user):
                await database_sync_to_async(user_key)(self._user)
            if not self._is_meant(order):
                return
            held = order.matching(self._session.subscriptions.values())
            ended = await self._no_longer_passing(held) if order.recheck else held
            metrics.count("revoked", len(ended))
            self._say(
                self._session.deny(subscription.signed, reason="revoked")
                for subscription in ended
            )
            self._leave(ended)

    def _is_meant(self, order: Order) -> bool:
        key = user_key(self._user) if order.user else None
        session = getattr(self._login, "session_key", None)
        return order.concerns(user=key, session=session_hash(session))

    async def _no_longer_passing(
        self, held: Sequence[Subscription]
    ) -> list[Subscription]:
        streams = {item.signed: from_name(item.name) for item in held}
        tested = [item for item in held if streams[item.signed].tests_user()]
        if not tested:
            return []
        before = user_key(self._user)
        await self._reload_user()
        if user_key(self._user) != before:
            return list(held)
        reasons = await passes([streams[item.signed] for item in tested], self._user)
        return [item for item, why in zip(tested, reasons, strict=True) if why]

    async def _reload_user(self) -> None:
        self._is_stale = False  # first, for an order may come meanwhile
        try:
            self._user = await reload_user(self._login, self._user)
        except Exception:
            self._is_stale = True
            raise

    def _held(self, wanted: Iterable[Wanted]) -> list[Subscription]:
        """Return what is subscribed already of what is asked for."""
        held = self._session.subscriptions
        return [held[item.signed] for item in wanted if item.signed in held]

    def _leave(self, ended: Iterable[Subscription]) -> None:
        """Leave the streams of ``ended`` that no name of this page means any more."""
        self._hub.unsubscribe(
            self, [item.sid for item in ended if not self._session.holds(item.sid)]
        )

    def _say(self, frames: Iterable[str]) -> None:
        for frame in frames:
            self.deliver(Frame(frame))


def _since(grant: Grant, wanted: Sequence[Wanted]) -> str:
    signed = grant.subscription.signed
    return next(item.since for item in wanted if item.signed == signed)
