"""
The WebSocket under consumers: how it opens, how it ends, and the way out.

What reaches a client goes through a bounded
:class:`~turbo.connections.send_buffer.SendBuffer`. A client that does not read is
closed with 4008, one whose server ends with 1012; both may come back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Protocol

from channels.exceptions import StopConsumer

from turbo import metrics
from turbo.connections.budgets import ConnectionBudget
from turbo.connections.inbox import NO_CODE, Inbox
from turbo.connections.send_buffer import SendBuffer
from turbo.delivery.frame import Frame
from turbo.delivery.hub import get_hub
from turbo.delivery.protocol import PING, CloseCode
from turbo.typing import Message, Receive, Scope, Send

__all__ = ["Endpoint", "Link", "Socket"]

logger = logging.getLogger("turbo.observers")

#: Seconds that a client may take to read what goes before the end.
CLOSE_TIMEOUT = 2.0
#: Seconds that what runs for a client may go on when it has left.
LEAVE_TIMEOUT = 1.0
#: The close code of an application that failed.
INTERNAL_ERROR = 1011


class Link(Protocol):
    """The way from a consumer to its client."""

    def put(self, frame: Frame) -> None:
        """Send a text frame, now or soon."""

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary frame."""

    async def accept(
        self, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Accept the connection."""

    async def close(self, code: int, reason: str = "") -> None:
        """End the connection, or refuse it."""

    def end_as_slow(self) -> None:
        """End the connection because the client lags behind."""


class Endpoint(Protocol):
    """Who talks to the client: a consumer, or several behind a multiplexer."""

    def attach(self, scope: Scope, link: Link) -> None:
        """Take a connection on."""

    async def websocket_connect(self, message: Message) -> None:
        """Accept or refuse."""

    async def websocket_receive(self, message: Message) -> None:
        """Act on a frame."""

    async def websocket_disconnect(self, message: Message) -> None:
        """Clean up."""

    def say_limited(self) -> None:
        """Say that frames come faster than they are read."""

    def apply_revocation(self, revocation: str | None) -> None:
        """Take a revocation of the control stream."""


class Socket:
    """One connection: the link of its endpoint, and a connection of the hub."""

    def __init__(self, receive: Receive, send: Send, scope: Scope) -> None:
        self._receive = receive
        self._send = send
        self._early: list[Frame] | None = []  # until the connection is accepted
        self._end = asyncio.Event()
        self._busy = False  # the endpoint acts on something
        self._slow = False
        self._grace = CLOSE_TIMEOUT
        self._code = 1006
        self._budget = ConnectionBudget(scope)
        self._send_buffer = SendBuffer(scope, send, on_slow=self.end_as_slow)
        self._endpoint: Endpoint | None = None

    async def serve(self, endpoint: Endpoint, scope: Scope) -> None:
        """Serve the connection until either side ends it."""
        self._endpoint = endpoint
        hub = get_hub()
        hub.connect(self)
        try:
            endpoint.attach(scope, self)
            await self._converse(endpoint)
        except asyncio.CancelledError:
            await self.close(CloseCode.RESTART)
            raise
        finally:
            await self._send_buffer.close()
            await _hang_up(endpoint, self._code)
            self._budget.close()
            await hub.disconnect(self)

    def deliver(self, frame: Frame) -> None:
        """Take what the hub sends to all; its ping is no part of this protocol."""
        if frame.text != PING:
            self.put(frame)

    def apply_revocation(self, revocation: str | None) -> None:
        """Pass a revocation on."""
        if self._endpoint is not None:
            self._endpoint.apply_revocation(revocation)

    def put(self, frame: Frame) -> None:
        """Send a text frame; what comes before the acceptance waits for it."""
        if self._early is not None:
            self._early.append(frame)
        else:
            self._send_buffer.put(frame)

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary frame."""
        await self._send_buffer.ready()
        await self._send({"type": "websocket.send", "bytes": data})

    async def accept(
        self, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]
    ) -> None:
        """Accept the connection, and send what has been put so far."""
        message: Message = {"type": "websocket.accept", "subprotocol": subprotocol}
        if headers := list(headers):
            message["headers"] = headers
        await self._send(message)
        early, self._early = self._early or [], None
        for frame in early:
            self._send_buffer.put(frame)

    async def close(self, code: int, reason: str = "") -> None:
        """End the connection once the client has read what goes before."""
        if self._end.is_set() and not self._slow:
            return
        self._end.set()
        self._code = code
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._send_buffer.ready()
        message: Message = {"type": "websocket.close", "code": int(code)}
        if reason:
            message["reason"] = reason
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._send(message)

    def end_as_slow(self) -> None:
        """End the connection: the client does not read, or its consumer lags."""
        self._slow = True
        self._end.set()

    async def _converse(self, endpoint: Endpoint) -> None:
        reading = asyncio.ensure_future(self._read(endpoint))
        ended = asyncio.ensure_future(self._end.wait())
        try:
            await asyncio.wait({reading, ended}, return_when=asyncio.FIRST_COMPLETED)
            if self._slow:
                await self._close_slow()
            elif self._busy:
                await asyncio.wait({reading}, timeout=self._grace)
            if reading.done():
                reading.result()
        except Exception:
            logger.exception("A consumer failed, and its connection is closed.")
            metrics.count("failed")
            await self.close(INTERNAL_ERROR)
        finally:
            reading.cancel()
            ended.cancel()
            await asyncio.gather(reading, ended, return_exceptions=True)

    async def _read(self, endpoint: Endpoint) -> None:
        message = await self._receive()
        act = endpoint.websocket_connect
        with Inbox(
            self._receive,
            self._send_buffer,
            pace=partial(self._budget.next_frame, endpoint.say_limited),
            on_lost=self._leave,
        ) as inbox:
            with suppress(TimeoutError):  # asked again as soon as revocations are heard
                await get_hub().wait_until_listening()
            while message["type"] != "websocket.disconnect":
                self._busy = True
                await act(message)
                self._busy = False
                if self._end.is_set():
                    return
                message = await inbox.next()
                act = endpoint.websocket_receive
        self._code = message.get("code") or NO_CODE

    def _leave(self) -> None:
        self._grace = LEAVE_TIMEOUT
        self._end.set()

    async def _close_slow(self) -> None:
        metrics.count("closed_slow")
        logger.info("A client does not read, and its connection is closed.")
        await self._send_buffer.close()
        await self.close(CloseCode.SLOW)
        self._send_buffer.abort()


async def _hang_up(endpoint: Endpoint, code: int) -> None:
    try:
        await endpoint.websocket_disconnect(
            {"type": "websocket.disconnect", "code": int(code)}
        )
    except StopConsumer:
        pass  # what overrides a method of Channels may end like this
    except Exception:
        logger.exception("A consumer failed after its connection had ended.")
        metrics.count("failed")
