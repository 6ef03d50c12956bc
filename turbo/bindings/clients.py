"""The server's side of one JSON client: it is told all rows, then every change."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from channels.db import database_sync_to_async

from turbo import metrics
from turbo.bindings.binding import Binding
from turbo.bindings.catching import Caught, catch_up, stay
from turbo.bindings.lines import Change, Line
from turbo.bindings.messages import (
    Signal,
    change_frame,
    group_frame,
    message,
    sync_messages,
)
from turbo.bindings.outage import is_reachable
from turbo.bindings.telling import group_stream_name, parse_told, stream_name
from turbo.bindings.versions import Version
from turbo.errands import Errands
from turbo.frame import Frame
from turbo.hub import get_hub
from turbo.names import stream_id
from turbo.protocol import CloseCode
from turbo.revocation import RevocationHandler
from turbo.typing import Scope
from turbo.visitors import Visitor

__all__ = ["Audience", "Client", "Way"]

logger = logging.getLogger("turbo.bindings")

#: Seconds for which a change may be waited for that another process has made.
PATIENCE = 0.05
#: Seconds between two attempts to be heard of.
PAUSE = 1.0


class Audience(Protocol):
    """What a consumer declares: to whom it speaks of what."""

    event: str
    page_size: int

    def get_groups(self) -> Sequence[str]:
        """Return the groups by which its clients can be reached."""

    def tests_user(self) -> bool:
        """Return whether not everybody may listen."""

    def user_passes_test(self, user: Any) -> bool:
        """Return whether a user may listen."""


class Way(Protocol):
    """The way to the client."""

    def put(self, frame: Frame) -> None:
        """Send a frame, now or soon."""

    async def ready(self) -> None:
        """Wait until nothing waits to be sent."""

    def end(self, code: int) -> None:
        """End the connection."""


class Client:
    """One client of a binding."""

    def __init__(
        self, audience: Audience, binding: Binding, scope: Scope, way: Way
    ) -> None:
        self._audience = audience
        self._event = audience.event or binding.label
        self._binding = binding
        self._way = way
        self._visitor = Visitor(scope)
        self._revocations = RevocationHandler[Client](self, self._visitor)
        self._line = Line()
        self._sid = stream_id(stream_name(binding.slot))
        groups = map(group_stream_name, audience.get_groups())
        self._sids = [self._sid, *map(stream_id, groups)]
        self._errands = Errands()
        self._lock = asyncio.Lock()  # one catching up at a time
        self._is_healing = False
        self._is_denied = False
        self._hub = get_hub()
        self._hub.connect(self)

    async def start(self, since: Version | None) -> None:
        """Test the user, subscribe, and tell what has happened since a version."""
        async with self._revocations.lock:
            if not await self._passes():
                self._deny("forbidden")
                return
            is_heard = await self._subscribe()
        if not is_heard:
            self._errands.run(self._subscribe_later())
        await self.resume(since)

    async def resume(self, since: Version | None) -> None:
        """Tell what has happened since a version, and say when that is all."""
        await self._catch_up(since, confirm=True)

    async def stop(self) -> None:
        """Leave everything."""
        await self._revocations.stop()
        await self._errands.stop()
        self._visitor.budget.close()
        await self._hub.disconnect(self)

    def say(self, action: str, **fields: Any) -> None:
        """Send a message."""
        self._way.put(Frame(message(self._event, action, **fields)))

    def deliver(self, frame: Frame) -> None:
        """Take what the hub delivers."""
        signal = Signal.of(frame)
        if signal.kind == "ping":
            self.say("ping")
            self._errands.run(self._stay())
        elif signal.stream == self._sid:
            # A gap has no version: something is missing.
            told = frame.wire("turbo.bindings.told", lambda _: parse_told(signal.data))
            self._pass_on(self._line.take(*told))
            self._heal()
        elif signal.kind == "message":
            self._way.put(group_frame(self._event, signal.data))

    def obey(self, order: str | None) -> None:
        """Take an order of the control stream."""
        self._revocations.take(order)

    async def _subscribe(self) -> bool:
        try:
            arrivals = await self._hub.subscribe(
                self, [(sid, "") for sid in self._sids]
            )
        except Exception as error:
            logger.info("A client of %r hears nothing yet: %s", self._binding, error)
            return False
        self._hub.settle(arrivals)
        return True

    async def _subscribe_later(self) -> None:
        await asyncio.sleep(PAUSE)
        if await self._subscribe():
            await self._catch_up(self._line.version)
        else:
            self._errands.run(self._subscribe_later())

    async def _catch_up(self, since: Version | None, *, confirm: bool = False) -> None:
        async with self._lock:
            self._line.stop()
            try:
                caught = await catch_up(self._binding, since)
            except BaseException:
                self._line.start(since)
                raise
            await self._tell(caught, since, confirm=confirm)
            self._pass_on(self._line.start(caught.version))
        if caught.version is None:
            self._errands.run(self._await_store())
        self._heal()

    async def _tell(
        self, caught: Caught, since: Version | None, *, confirm: bool
    ) -> None:
        version = str(caught.version or "")
        if since is not None and caught.changes is not None:
            numbered = enumerate(caught.changes, since.number + 1)
            self._pass_on((Version(since.epoch, n), change) for n, change in numbered)
        if caught.snapshot is not None:
            size = self._audience.page_size
            texts = caught.snapshot.texts
            for page in sync_messages(self._event, version, texts, page_size=size):
                await self._way.ready()
                self._way.put(Frame(page))
        if confirm or caught.snapshot is not None:
            self.say("sync", version=version, payload="ok")

    def _pass_on(self, changes: Iterable[Change]) -> None:
        for version, change in changes:
            self._way.put(change_frame(self._event, version, change))

    def _heal(self) -> None:
        if self._line.is_stuck and not self._is_healing:
            self._is_healing = True
            self._errands.run(self._ask_for_missing())

    async def _ask_for_missing(self) -> None:
        try:
            if not self._line.is_lost:
                await asyncio.sleep(PATIENCE)
            if self._line.is_stuck:
                await self._catch_up(self._line.version)
        finally:
            self._is_healing = False

    async def _stay(self) -> None:
        state = await stay(self._binding)
        is_here = state is not None and state.version == self._line.version
        if not is_here and not self._lock.locked():
            await self._catch_up(self._line.version)

    async def _await_store(self) -> None:
        await asyncio.sleep(PAUSE)
        if self._line.version is not None or self._lock.locked():
            return
        if is_reachable():
            await self._catch_up(None)
        else:
            self._errands.run(self._await_store())

    async def _passes(self) -> bool:
        test = self._audience.user_passes_test
        if not self._audience.tests_user():
            return True
        try:
            if inspect.iscoroutinefunction(test):
                return bool(await test(self._visitor.user))
            return bool(await database_sync_to_async(test)(self._visitor.user))
        except Exception:
            logger.exception("%r.user_passes_test() failed.", self._audience)
            metrics.count("failed")
            return False

    # --- For the handler of revocations

    def held(self) -> Sequence[Client]:
        """Return the one thing that there is to lose: to be told."""
        return [] if self._is_denied else [self]

    async def ended_with(self, stream: str, held: Sequence[Client]) -> Sequence[Client]:
        """Return this client if it is the binding that was revoked."""
        return held if stream == stream_name(self._binding.slot) else []

    async def refused(self, held: Sequence[Client]) -> Sequence[Client]:
        """Ask again whether the user may listen."""
        return [] if await self._passes() else held

    async def end(self, ended: Sequence[Client]) -> None:
        """End the connection if it was revoked."""
        if ended:
            self._deny("revoked")

    def _deny(self, reason: str) -> None:
        self._is_denied = True
        self._hub.unsubscribe(self, self._sids)
        self.say("denied", reason=reason)
        self._way.end(CloseCode.FORBIDDEN)
