"""
The WebSocket of a client of pub/sub.

:class:`PubSubConsumer` is a plain ASGI application. ``pubsub_server`` serves it; it can
also be one path of a project's own::

    application = get_application([path("pubsub/", PubSubConsumer.as_asgi())])
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from turbo import metrics
from turbo.conf import get_settings
from turbo.connections.inbox import Inbox, end_now
from turbo.connections.revocation import RevocationHandler
from turbo.connections.send_buffer import SendBuffer
from turbo.connections.visitors import Visitor
from turbo.delivery.frame import Frame
from turbo.delivery.hub import get_hub
from turbo.delivery.protocol import LIMITED, CloseCode, Refused
from turbo.pubsub.access import greetings, may_connect, query_token, user_of_token
from turbo.pubsub.conf import get_pubsub_settings
from turbo.pubsub.fan_out import get_fan_out
from turbo.pubsub.protocol import (
    AUTHENTICATED,
    GAP_FRAME,
    LIMIT,
    PONG,
    Authenticate,
    Denial,
    Ping,
    denied,
    receive,
)
from turbo.runtime import loops
from turbo.runtime.failures import log_failure
from turbo.runtime.tasks import Tasks
from turbo.typing import ASGIApplication, Receive, Scope, Send

__all__ = ["PubSubConsumer"]

logger = logging.getLogger("turbo.pubsub")

#: Seconds for which a client waits while changes cannot be heard.
PATIENCE = 2.0
#: Seconds that a client may take to read what goes before the end.
CLOSE_TIMEOUT = 2.0


class PubSubConsumer:
    """One WebSocket: a listener of the fan-out, and a connection of the hub."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self.visitor = Visitor(scope)
        self._revocations = RevocationHandler[PubSubConsumer](self, self.visitor)
        self._is_in = False
        self._early: list[Frame] | None = []  # until it has been greeted
        self._lasting = asyncio.timeout(None)  # until it is ended from this side
        self._code: CloseCode | None = None
        self._is_lost = False
        self._tasks = Tasks()
        self._send_buffer = SendBuffer(scope, send, on_slow=self._end_as_slow)

    @classmethod
    def as_asgi(cls) -> ASGIApplication:
        """Return an ASGI application that serves each connection."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            await cls(scope, receive, send).serve()

        return loops.websocket_application(serve, cls.__qualname__)

    async def serve(self) -> None:
        """Serve the connection until either side closes it."""
        hub, fan_out = get_hub(), get_fan_out()
        hub.connect(self)
        try:
            with suppress(TimeoutError):  # asked again as soon as revocations are heard
                async with asyncio.timeout(PATIENCE):
                    await fan_out.open(PATIENCE)
                    await hub.wait_until_listening()
            await self._receive()  # websocket.connect
            async with self._lasting:
                await self._read()
        except asyncio.CancelledError:
            with suppress(Exception):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._say_goodbye(CloseCode.RESTART)
            raise
        except Exception as error:
            if not (isinstance(error, TimeoutError) and self._lasting.expired()):
                log_failure("A client of pub/sub cannot be served.", error)
                self._code = CloseCode.AGAIN
            await self._close()
        finally:
            fan_out.dismiss(self)
            await self._revocations.stop()
            await self._tasks.stop()
            self.visitor.budget.close()
            await self._send_buffer.close()
            await hub.disconnect(self)
            await fan_out.close()

    def tell(self, frame: Frame) -> None:
        """Send a frame, once the client has been greeted."""
        if self._early is None:
            self._send_buffer.put(frame)
            return
        self._early.append(frame)
        if sum(early.size for early in self._early) > get_settings().queue_bytes:
            self._end_as_slow()

    def deliver(self, frame: Frame) -> None:
        """Leave out the hub's pings: the server sends those of WebSocket itself."""

    def apply_revocation(self, revocation: str | None) -> None:
        """Take a revocation of the control stream."""
        self._revocations.take(revocation)

    async def _read(self) -> None:
        say_limited = partial(self._send_buffer.put, Frame(LIMITED))
        with Inbox(
            self._receive,
            self._send_buffer,
            pace=partial(self.visitor.budget.next_frame, say_limited),
            on_lost=self._leave,
        ) as inbox:
            await self._welcome()
            while (message := await inbox.next())["type"] == "websocket.receive":
                await self._act(message.get("text"))

    def _leave(self) -> None:
        self._is_lost = True
        end_now(self._lasting)

    async def _welcome(self) -> None:
        """Accept the connection, when it is known whom to tell of what comes."""
        token = query_token(self._scope)
        has_room, admitted = self.visitor.budget.hold("subscriptions"), False
        if has_room and token is None:
            async with self._revocations.lock:
                admitted = await self._admit()
        await self._send({"type": "websocket.accept"})
        if not has_room:
            self._turn_away()
        elif token is not None:
            await self._authenticate(token)
        elif admitted:
            await self._greet()
        else:
            self._tasks.run(self._wait_for_token())

    async def _act(self, text: str | None) -> None:
        match receive(text, limit=get_settings().max_frame_bytes):
            case Authenticate(token):
                await self._authenticate(token)
            case Ping():
                self._send_buffer.put(Frame(PONG))
            case Refused(frame):
                metrics.count("bad_frames")
                self._send_buffer.put(Frame(frame))

    async def _authenticate(self, token: str) -> None:
        budget = self.visitor.budget
        if not budget.spend("tests"):
            self._send_buffer.put(Frame(LIMIT))
            return
        user = await user_of_token(token, budget.owner)
        if user is None:
            self._deny("token")
            return
        async with self._revocations.lock:
            # What is decided for whom it was before is not for whom it is now.
            misses = get_fan_out().dismiss(self)
            self.visitor.become(user)  # the session, if any, is another user's
            # Something may have happened to the user while the token was looked at.
            admitted = await self.visitor.reload() and await self._admit()
        budget.release("subscriptions")  # it counts for the bearer of the token now
        if not admitted:
            self._deny("forbidden")
            return
        if not budget.hold("subscriptions"):
            self._turn_away()
            return
        self._send_buffer.put(Frame(AUTHENTICATED))
        await self._greet()
        if misses:
            self._send_buffer.put(Frame(GAP_FRAME))

    async def _admit(self) -> bool:
        """Let the visitor in, or not; then every change is theirs to hear."""
        await self.visitor.look_up()
        if self.visitor.is_stale and not await self.visitor.reload():
            return False
        if not await may_connect(self.visitor.user, self.visitor.session):
            return False
        self._is_in = True
        get_fan_out().admit(self)
        return True

    async def _greet(self) -> None:
        if self._early is None:
            return
        for text in await greetings(self.visitor.user, self.visitor.budget.owner):
            self._send_buffer.put(Frame(text))
        early, self._early = self._early, None
        for frame in early:
            self._send_buffer.put(frame)

    async def _wait_for_token(self) -> None:
        await asyncio.sleep(get_pubsub_settings().token_timeout)
        if not self._is_in:
            self._deny("timeout")

    # --- For the handler of revocations

    def held(self) -> Sequence[PubSubConsumer]:
        """Return the one thing that there is to lose: being let in."""
        return [self] if self._is_in else []

    async def ended_with(
        self, stream: str, held: Sequence[PubSubConsumer]
    ) -> Sequence[PubSubConsumer]:
        """Return nothing: changes are of models, not of streams."""
        return []

    async def refused(self, held: Sequence[PubSubConsumer]) -> Sequence[PubSubConsumer]:
        """Ask again whether the visitor may be here."""
        may_stay = await may_connect(self.visitor.user, self.visitor.session)
        return [] if may_stay else held

    async def end(self, ended: Sequence[PubSubConsumer]) -> None:
        """End the connection if it was revoked."""
        if ended:
            self._is_in = False
            self._deny("revoked")

    def _deny(self, reason: Denial) -> None:
        metrics.count("refused")
        self._send_buffer.put(Frame(denied(reason)))
        self._end(CloseCode.FORBIDDEN)

    def _turn_away(self) -> None:
        self._send_buffer.put(Frame(LIMIT))
        self._end(CloseCode.AGAIN)

    def _end_as_slow(self) -> None:
        metrics.count("closed_slow")
        logger.info("A client does not read, and its connection is closed.")
        self._end(CloseCode.SLOW)

    def _end(self, code: CloseCode) -> None:
        """Let :meth:`serve` go on to close the connection."""
        get_fan_out().dismiss(self)
        if self._code is None:
            self._code = code
            end_now(self._lasting)

    async def _close(self) -> None:
        """Close the connection, giving the client time to read what goes before."""
        if self._is_lost:
            return
        assert self._code is not None
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._send_buffer.ready()
                await self._say_goodbye(self._code)
                while (await self._receive())["type"] == "websocket.receive":
                    pass
        self._send_buffer.abort()

    async def _say_goodbye(self, code: CloseCode) -> None:
        await self._send({"type": "websocket.close", "code": int(code)})
