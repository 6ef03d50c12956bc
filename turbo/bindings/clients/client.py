"""The server side of one JSON client, which gets all rows and then every change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from turbo import metrics
from turbo.bindings.binding import Binding
from turbo.bindings.cache.notify import group_stream_name, parse_told, stream_name
from turbo.bindings.cache.outage import is_reachable
from turbo.bindings.clients.catch_up import Caught, catch_up, stay
from turbo.bindings.clients.sequence import ChangeSequence, VersionedChange
from turbo.bindings.messages import (
    Signal,
    change_frame,
    group_frame,
    message,
    sync_messages,
)
from turbo.bindings.store.versions import Version
from turbo.conf import get_settings
from turbo.connections.connection import AdmittedConnection, wait_until_listening
from turbo.connections.permission_questions import ask
from turbo.connections.websocket import WebSocket
from turbo.delivery.frame import Frame
from turbo.delivery.names import stream_id
from turbo.delivery.protocol import CloseCode
from turbo.typing import Scope

__all__ = ["BindingClient"]

logger = logging.getLogger("turbo.bindings")

#: Seconds to wait for a change of another process that is late.
PATIENCE = 0.05
#: Seconds between two attempts to subscribe, or to reach the store; and the longest
#: pause before a change that the store does not have is asked for again.
PAUSE = 1.0


class ConsumerInterface(Protocol):
    """The attributes and methods of a consumer that a client uses."""

    event: str
    page_size: int

    def get_groups(self) -> Sequence[str]:
        """Return the groups that its clients belong to."""

    def tests_user(self) -> bool:
        """Return whether the consumer tests its users."""

    def user_passes_test(self, user: Any) -> Any:
        """Return whether a user may listen; may be a coroutine function."""


class BindingClient(AdmittedConnection):
    """One client of a binding."""

    def __init__(
        self,
        consumer: ConsumerInterface,
        binding: Binding,
        scope: Scope,
        socket: WebSocket,
    ) -> None:
        self._consumer = consumer
        self._event = consumer.event or binding.label
        self._binding = binding
        self._socket = socket
        self._sequence = ChangeSequence()
        self._sid = stream_id(stream_name(binding.slot))
        groups = map(group_stream_name, consumer.get_groups())
        self._sids = [self._sid, *map(stream_id, groups)]
        self._lock = asyncio.Lock()  # held while the client catches up
        self._is_healing = False
        self._is_telling = False
        super().__init__(scope)

    async def start(self, since: Version | None) -> None:
        """Test the user, subscribe, and send the changes since a version."""
        async with self.revocations.lock:
            await wait_until_listening()
            await self.visitor.look_up()
            if not self._has_room():
                self._turn_away()
                return
            if not await self.may_stay():
                metrics.count("refused")
                self.deny("forbidden")
                return
            self.is_admitted = True
            is_heard = await self._subscribe()
        self.visitor.rest()
        if not is_heard:
            self.run(self._subscribe_later())
        if not await self._catch_up(since, is_asked=True):
            self._socket.end(CloseCode.AGAIN)  # it has no rows that changes apply to

    async def resume(self, since: Version | None) -> None:
        """Send the changes since a version, and then ``sync``."""
        await self._catch_up(since, is_asked=True)

    def say(self, action: str, **fields: Any) -> None:
        """Send a message."""
        self._socket.put(Frame(message(self._event, action, **fields)))

    def deliver(self, frame: Frame) -> None:
        """Send a message of the hub to the client, in its order."""
        if not self.is_admitted:
            return  # its user is being tested, or its connection is ending
        signal = Signal.of(frame)
        if signal.kind == "ping":
            self.say("ping")
            self.run(self._stay())
        elif signal.stream == self._sid:
            # A gap has no version, and means that messages are missing.
            told = frame.wire("turbo.bindings.told", lambda _: parse_told(signal.data))
            self._pass_on(self._sequence.take(*told))
            self._heal()
            self._end_if_slow()
        elif signal.kind == "message":
            self._socket.put(group_frame(self._event, signal.data))

    async def _subscribe(self) -> bool:
        try:
            arrivals = await self.hub.subscribe(self, [(sid, "") for sid in self._sids])
        except Exception as error:
            logger.info("A client of %r cannot subscribe yet: %s", self._binding, error)
            return False
        self.hub.settle(arrivals)
        return True

    async def _subscribe_later(self) -> None:
        await asyncio.sleep(PAUSE)
        if await self._subscribe():
            await self._catch_up(self._sequence.version)
        else:
            self.run(self._subscribe_later())

    async def _catch_up(self, since: Version | None, *, is_asked: bool = False) -> bool:
        """
        Send the changes since a version.

        If that exceeds the client's limit, send an error, and return false.
        """
        async with self._lock:
            before = self._sequence.version
            was_lost = self._sequence.is_lost
            self._sequence.stop()
            try:
                caught = await catch_up(self._binding, since, self.budget.owner)
            except BaseException:
                self._go_on(before, was_lost)
                raise
            if is_asked and not self.budget.spend("replay_bytes", caught.size):
                self._say_limit()
                self._go_on(before, was_lost)
                return False
            self._is_telling = True
            try:
                await self._tell(caught, since, confirm=is_asked)
            finally:
                self._is_telling = False
            self._pass_on(self._sequence.start(caught.version))
        if caught.version is None:
            self.run(self._await_store())
        self._heal()
        return True

    def _go_on(self, version: Version | None, was_lost: bool) -> None:
        """Send the changes that follow the version that the client had before."""
        self._sequence.is_lost |= was_lost
        self._pass_on(self._sequence.start(version))

    async def _tell(
        self, caught: Caught, since: Version | None, *, confirm: bool
    ) -> None:
        """Send changes or rows, no faster than the client reads."""
        version = str(caught.version or "")
        if since is not None and caught.changes is not None:
            for number, change in enumerate(caught.changes, since.number + 1):
                await self._socket.ready()
                self._pass_on([(Version(since.epoch, number), change)])
        if caught.snapshot is not None:
            size = self._consumer.page_size
            texts = caught.snapshot.texts
            for page in sync_messages(self._event, version, texts, page_size=size):
                await self._socket.ready()
                self._put(Frame(page))
        if confirm or caught.snapshot is not None:
            self.say("sync", version=version, payload="ok")

    def _end_if_slow(self) -> None:
        """End the connection if too many changes wait while the client reads slowly."""
        if self._is_telling and self._sequence.is_longer(get_settings().queue_bytes):
            self._socket.end(CloseCode.SLOW)

    def _pass_on(self, changes: Iterable[VersionedChange]) -> None:
        for version, change in changes:
            self._put(change_frame(self._event, version, change))

    def _put(self, frame: Frame) -> None:
        """Send a frame, but only to a client that has been admitted."""
        if self.is_admitted:
            self._socket.put(frame)

    def _heal(self) -> None:
        if self._sequence.is_stuck and not self._is_healing:
            self._is_healing = True
            self.run(self._ask_for_missing())

    async def _ask_for_missing(self) -> None:
        pause = PATIENCE
        try:
            while self._sequence.is_stuck:  # more may be lost meanwhile
                if not self._sequence.is_lost:
                    await asyncio.sleep(pause)
                if not self._sequence.is_stuck:
                    break
                before = self._sequence.version
                await self._catch_up(before)
                # If the store has lost the changes, it will not have them soon.
                is_new = self._sequence.version != before
                pause = PATIENCE if is_new else min(2 * pause, PAUSE)
        finally:
            self._is_healing = False

    async def _stay(self) -> None:
        state = await stay(self._binding)
        is_here = state is not None and state.version == self._sequence.version
        if not is_here and not self._lock.locked():
            await self._catch_up(self._sequence.version)

    async def _await_store(self) -> None:
        await asyncio.sleep(PAUSE)
        if self._sequence.version is not None or self._lock.locked():
            return
        if is_reachable():
            await self._catch_up(None)
        else:
            self.run(self._await_store())

    def _has_room(self) -> bool:
        """Return whether the visitor's limits allow one more client and its test."""
        budget = self.budget
        return budget.hold("subscriptions", len(self._sids)) and (
            not self._consumer.tests_user() or budget.spend("tests")
        )

    def _turn_away(self) -> None:
        self._say_limit()
        self._socket.end(CloseCode.AGAIN)

    def _say_limit(self) -> None:
        detail = "This is more than one may ask for. Try again in a minute."
        self.say("error", reason="limit", detail=detail)

    async def may_stay(self) -> bool:
        """Return whether the user may listen."""
        if not await self.visitor.refresh():
            return False
        if not self._consumer.tests_user():
            return True
        # Shared with no other connection, because the test may look at the scope.
        asked = {f"turbo.bindings {id(self)}": self._consumer}
        [answer] = (await ask(asked, self.visitor)).values()
        return not answer.reason

    async def ended_with(
        self, stream: str, held: Sequence[AdmittedConnection]
    ) -> Sequence[AdmittedConnection]:
        """Return this client if its binding was revoked."""
        return held if stream == stream_name(self._binding.slot) else []

    def deny(self, reason: str) -> None:
        """Send the reason, and end the connection."""
        self.is_admitted = False
        self.hub.unsubscribe(self, self._sids)
        self.say("denied", reason=reason)
        self._socket.end(CloseCode.FORBIDDEN)
