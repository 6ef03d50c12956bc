"""
The WebSocket that pages open.

:class:`TurboStreamsConsumer` is a plain ASGI application, so that no message passes
through Channels' per-connection dispatch. It works alone under ``ProtocolTypeRouter``::

    application = ProtocolTypeRouter({
        "http": get_asgi_application(),
        "websocket": TurboStreamsConsumer.as_asgi(),
    })

It finds the user of a session by itself, in the visit to the database that the first
subscriptions need anyway. A user whom a middleware around it has found is taken.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from functools import partial

from turbo import metrics
from turbo.connections.inbox import Inbox, end_now
from turbo.connections.send_buffer import SendBuffer
from turbo.connections.subscriber import LiveSubscriber
from turbo.connections.users import with_visitor
from turbo.delivery.frame import Frame
from turbo.delivery.protocol import LIMITED, CloseCode
from turbo.runtime import loops
from turbo.typing import ASGIApplication, Receive, Scope, Send

__all__ = ["TurboStreamsConsumer"]

logger = logging.getLogger("turbo.consumers")

#: Seconds that a client which does not read may take to be told so.
CLOSE_TIMEOUT = 2.0


class TurboStreamsConsumer:
    """One WebSocket connection."""

    __slots__ = ("_is_lost", "_patience", "_receive", "_scope", "_send", "_send_buffer")

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        # Ends the reading when the client has proved to be slow, or has left.
        self._patience = asyncio.timeout(None)
        self._is_lost = False
        self._send_buffer = SendBuffer(scope, send, on_slow=self._lose_patience)

    @classmethod
    def as_asgi(cls) -> ASGIApplication:
        """Return an ASGI application that serves each connection."""

        def serve(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            return cls(scope, receive, send).serve()

        return loops.websocket_application(serve, cls.__qualname__)

    async def serve(self) -> None:
        """Serve the connection until either side closes it."""
        await self._receive()  # websocket.connect
        await self._send({"type": "websocket.accept"})
        subscriber = LiveSubscriber(with_visitor(self._scope), self._send_buffer.put)
        try:
            async with self._patience:
                await self._read(subscriber)
        except TimeoutError:
            if not self._patience.expired():
                raise
            if not self._is_lost:
                await self._close_slow()
        except asyncio.CancelledError:
            with suppress(Exception):
                await asyncio.wait_for(self._close(CloseCode.RESTART), CLOSE_TIMEOUT)
            raise
        finally:
            await self._send_buffer.close()
            await subscriber.stop()

    async def _read(self, subscriber: LiveSubscriber) -> None:
        next_frame = subscriber.visitor.budget.next_frame
        with Inbox(
            self._receive,
            self._send_buffer,
            pace=partial(next_frame, self._say_limited),
            on_lost=self._leave,
        ) as inbox:
            while (message := await inbox.next())["type"] == "websocket.receive":
                text = message.get("text")
                del message  # a page sends one frame and is silent for hours
                await subscriber.receive(text)
                del text

    def _say_limited(self) -> None:
        self._send_buffer.put(Frame(LIMITED))

    def _leave(self) -> None:
        self._is_lost = True
        self._lose_patience()

    def _lose_patience(self) -> None:
        end_now(self._patience)

    async def _close_slow(self) -> None:
        metrics.count("closed_slow")
        logger.info("A subscriber does not read and is closed: %s", _peer(self._scope))
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._send_buffer.ready()
                await self._close(CloseCode.SLOW)
                while (await self._receive())["type"] == "websocket.receive":
                    pass
        self._send_buffer.abort()

    async def _close(self, code: CloseCode) -> None:
        await self._send({"type": "websocket.close", "code": int(code)})


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unknown"
