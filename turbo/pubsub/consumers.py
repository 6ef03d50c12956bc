"""
The WebSocket of a client of pub/sub.

:class:`PubSubConsumer` is a plain ASGI application. ``pubsub_server`` serves it; it can
also be one path of a project's own::

    application = get_application([path("pubsub/", PubSubConsumer.as_asgi())])
"""

from __future__ import annotations

import asyncio

from turbo import metrics
from turbo.conf import get_settings
from turbo.connections.budgets import ConnectionBudget
from turbo.connections.connection import (
    PATIENCE,
    AdmittedConnection,
    wait_until_listening,
)
from turbo.connections.websocket import Endpoint, WebSocket
from turbo.delivery.frame import Frame
from turbo.delivery.protocol import LIMITED, CloseCode, Refused
from turbo.pubsub.access import greetings, may_connect, query_token, user_of_token
from turbo.pubsub.conf import get_pubsub_settings
from turbo.pubsub.fan_out import FanOut, get_fan_out
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
from turbo.typing import Message, Scope

__all__ = ["PubSubConsumer"]


class PubSubConsumer(AdmittedConnection, Endpoint):
    """One client: a listener of the fan-out, and a connection of the hub."""

    def __init__(self, scope: Scope, socket: WebSocket) -> None:
        super().__init__(scope)
        self._scope = scope
        self._socket = socket
        self._fan_out: FanOut | None = None
        self._early: list[Frame] | None = []  # until the hello messages are sent

    @property
    def websocket_budget(self) -> ConnectionBudget:
        """Return the budget of the client."""
        return self.budget

    async def websocket_prepare(self) -> None:
        """Wait for a short time until changes and revocations are received."""
        self._fan_out = get_fan_out()
        # At the same time, because a server ends a handshake after a few seconds.
        await asyncio.gather(self._fan_out.open(PATIENCE), wait_until_listening())

    async def websocket_connect(self, message: Message) -> None:
        """Accept the client; without a token in the URL, test its session first."""
        token = query_token(self._scope)
        has_room, admitted = self.budget.hold("subscriptions"), False
        if has_room and token is None:
            async with self.revocations.lock:
                admitted = await self._admit()
        await self._socket.accept()
        if not has_room:
            self._turn_away()
        elif token is not None:
            await self._authenticate(token)
        elif admitted:
            await self._greet()
        else:
            self.tasks.run(self._wait_for_token())

    async def websocket_receive(self, message: Message) -> None:
        """Handle a frame."""
        match receive(message.get("text"), limit=get_settings().max_frame_bytes):
            case Authenticate(token):
                await self._authenticate(token)
            case Ping():
                self._socket.put(Frame(PONG))
            case Refused(frame):
                metrics.count("bad_frames")
                self._socket.put(Frame(frame))

    async def websocket_disconnect(self, message: Message) -> None:
        """Leave the fan-out and the hub."""
        if self._fan_out is not None:
            self._fan_out.dismiss(self)
        try:
            await self.stop()
        finally:
            if self._fan_out is not None:
                await self._fan_out.close()

    def tell(self, frame: Frame) -> None:
        """Send a frame, after the hello messages."""
        if self._early is None:
            self._socket.put(frame)
            return
        self._early.append(frame)
        if sum(early.size for early in self._early) > get_settings().queue_bytes:
            self._end(CloseCode.SLOW)

    def deliver(self, frame: Frame) -> None:
        """Ignore the hub's pings, because the server sends pings of WebSocket."""

    def websocket_limited(self) -> None:
        """Tell the client that it sends frames faster than they are read."""
        self._socket.put(Frame(LIMITED))

    async def _authenticate(self, token: str) -> None:
        budget = self.budget
        if not budget.spend("tests"):
            self._socket.put(Frame(LIMIT))
            return
        user = await user_of_token(token, budget.owner)
        if user is None:
            self.deny("token")
            return
        async with self.revocations.lock:
            # Decisions for the previous user do not apply to the new one.
            misses = get_fan_out().dismiss(self)
            self.visitor.become(user)  # a session would be another user's
            # The user may have changed while the token was checked.
            admitted = await self.visitor.reload() and await self._admit()
        budget.release("subscriptions")  # it now counts for the token's user
        if not admitted:
            self.deny("forbidden")
            return
        if not budget.hold("subscriptions"):
            self._turn_away()
            return
        self._socket.put(Frame(AUTHENTICATED))
        await self._greet()
        if misses:
            self._socket.put(Frame(GAP_FRAME))

    async def _admit(self) -> bool:
        """Admit the visitor if this is allowed; return whether it is."""
        self.is_admitted = await self.visitor.refresh() and await self.may_stay()
        if self.is_admitted:
            get_fan_out().admit(self)
        return self.is_admitted

    async def _greet(self) -> None:
        if self._early is None:
            return
        for text in await greetings(self.visitor.user, self.budget.owner):
            self._socket.put(Frame(text))
        early, self._early = self._early, None
        for frame in early:
            self._socket.put(frame)

    async def _wait_for_token(self) -> None:
        await asyncio.sleep(get_pubsub_settings().token_timeout)
        if not self.is_admitted:
            self.deny("timeout")

    async def may_stay(self) -> bool:
        """Return whether the visitor may be connected."""
        return await may_connect(self.visitor.user, self.visitor.session)

    def deny(self, reason: Denial) -> None:
        """Tell the client the reason, and end the connection."""
        metrics.count("refused")
        self._socket.put(Frame(denied(reason)))
        self._end(CloseCode.FORBIDDEN)

    def _turn_away(self) -> None:
        self._socket.put(Frame(LIMIT))
        self._end(CloseCode.AGAIN)

    def _end(self, code: CloseCode) -> None:
        get_fan_out().dismiss(self)
        self._socket.end(code)
