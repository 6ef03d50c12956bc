"""
The life of a WebSocket, the same for pages, observers, bindings and pub/sub.

:class:`WebSocket` is one connection. Its :class:`Endpoint` says what is special about
it: whom it lets in, what the frames mean, and what is left to clean up. A socket is in
one of five states::

    CONNECTING ──accept()──> OPEN ──end()──> CLOSING ──the close frame──> CLOSED
        │                      │                │
        └── the client leaves ─┴────────────────┴──> GONE

* CONNECTING: the client waits. What is sent to it is kept until it is let in.
* OPEN: frames go both ways.
* CLOSING: the server has chosen the code to end with: :meth:`WebSocket.end`, a failure,
  a client that does not read (4008), a server that ends (1012). Only the first code
  counts. Nothing more is read, and the client may read what goes before.
  A socket that is refused gets here without having been open.
* CLOSED: the close frame has been sent, once. Nothing is sent after it.
* GONE: the client has left. Nobody is told anything.

One task serves a connection: it reads a frame, lets the endpoint act on it, and reads
the next. Whoever ends the connection makes the time limit of this task expire, so that
it stops waiting. From CLOSING or GONE the task goes on to say the code, if anybody is
there, and to clean up, whatever happens. Then it gives the client a moment to close its
side, and drops it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from enum import Enum
from typing import Any, ClassVar, Protocol

from channels.exceptions import StopConsumer

from turbo import metrics
from turbo.connections.budgets import ConnectionBudget
from turbo.connections.inbox import NO_CODE, Inbox
from turbo.connections.send_buffer import SendBuffer
from turbo.delivery.frame import Frame
from turbo.delivery.protocol import CloseCode
from turbo.runtime import loops
from turbo.runtime.failures import log_failure
from turbo.typing import ASGIApplication, Message, Receive, Scope, Send

__all__ = ["Endpoint", "Link", "SocketState", "WebSocket", "application"]

logger = logging.getLogger("turbo.consumers")

#: Seconds that a client may take to read what goes before the end, or to leave after.
CLOSE_TIMEOUT = 2.0
#: Seconds that what runs for a client may go on when it has left.
LEAVE_TIMEOUT = 1.0
#: The code of a connection that broke.
BROKEN = 1006


class SocketState(Enum):
    """Where a socket is in its life."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"
    GONE = "gone"


class Link(Protocol):
    """The way from an endpoint to its client."""

    @property
    def put(self) -> Callable[[Frame], None]:
        """Send a text frame, now or soon."""

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary frame."""

    async def accept(
        self,
        subprotocol: str | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        """Let the client in."""

    async def close(self, code: int, reason: str = "") -> None:
        """End the connection, or refuse it; return when the client has been told."""

    def end_as_slow(self) -> None:
        """End the connection because the client lags behind."""


class Endpoint:
    """
    Who talks to the client: a consumer, or several behind a multiplexer.

    All that a socket asks of it is called ``websocket_…``, so that projects can give
    their consumers methods of whatever other names.
    """

    __slots__ = ()

    #: Whether what runs for a client may go on for a moment when the connection ends.
    websocket_finishes: ClassVar[bool] = False

    def __init__(self, scope: Scope, socket: WebSocket) -> None:
        """Take a connection on."""

    @classmethod
    def as_asgi(cls) -> ASGIApplication:
        """Return an ASGI application that serves each connection."""
        return application(cls, cls.__qualname__)

    @property
    def websocket_budget(self) -> ConnectionBudget:
        """Return what the client may ask for, once it has connected."""
        raise NotImplementedError

    async def websocket_prepare(self) -> None:
        """Wait for what there has to be before the client is let in."""

    async def websocket_connect(self, message: Message) -> None:
        """Accept the client, or end the connection."""

    async def websocket_receive(self, message: Message) -> None:
        """Act on a frame."""

    async def websocket_disconnect(self, message: Message) -> None:
        """Clean up: the connection has ended, wherever it was."""

    def websocket_limited(self) -> None:
        """Say that frames come faster than they are read."""

    def websocket_failed(self, error: Exception) -> int:
        """Report a failure, and return the code with which the connection ends."""
        log_failure(f"{type(self).__qualname__} cannot serve a client.", error)
        return CloseCode.AGAIN


def application(
    make: Callable[[Scope, WebSocket], Endpoint], name: str
) -> ASGIApplication:
    """Return an ASGI application in which each connection has its own endpoint."""

    def serve(scope: Scope, receive: Receive, send: Send) -> Any:
        return WebSocket(scope, receive, send).serve(make)

    return loops.websocket_application(serve, name)


class WebSocket:
    """One connection."""

    __slots__ = (
        "_code",
        "_early",
        "_endpoint",
        "_is_acting",
        "_limit",
        "_reason",
        "_receive",
        "_scope",
        "_send",
        "_send_buffer",
        "put",
        "state",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self.state = SocketState.CONNECTING
        self._code: int = BROKEN
        self._reason = ""
        self._endpoint: Endpoint | None = None
        # Expires when nothing more is to be read.
        self._limit = asyncio.timeout(None)
        self._is_acting = False  # the endpoint acts on something
        self._send_buffer = SendBuffer(scope, send, on_slow=self.end_as_slow)
        self._early: list[Frame] | None = []  # until the client is let in
        #: Sends a text frame, now or soon; never blocks, never raises.
        self.put: Callable[[Frame], None] = self._early.append

    async def serve(self, make: Callable[[Scope, WebSocket], Endpoint]) -> None:
        """Serve the connection until either side ends it."""
        try:
            await self._converse(make)
            await self._say_goodbye()
        except asyncio.CancelledError:
            self.end(CloseCode.RESTART)
            await self._send_close()
            raise
        finally:
            await self._send_buffer.close()
            await self._clean_up()
        await self._see_off()

    async def accept(
        self,
        subprotocol: str | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        """Let the client in, and send what has been put so far."""
        message: Message = {"type": "websocket.accept"}
        if subprotocol is not None:
            message["subprotocol"] = subprotocol
        if headers := list(headers):
            message["headers"] = headers
        await self._send(message)
        if self.state is SocketState.CONNECTING:
            self.state = SocketState.OPEN
        early, self._early = self._early or [], None
        self.put = self._send_buffer.put
        for frame in early:
            self.put(frame)

    async def send_bytes(self, data: bytes) -> None:
        """Send a binary frame."""
        await self._send_buffer.ready()
        await self._send({"type": "websocket.send", "bytes": data})

    async def ready(self) -> None:
        """Wait until nothing waits to be sent; others have their turn first."""
        await asyncio.sleep(0)
        await self._send_buffer.ready()

    def end(self, code: int, reason: str = "") -> None:
        """End the connection once the client has read what goes before; or refuse."""
        if self._is_ending:
            return
        self.state, self._code, self._reason = SocketState.CLOSING, code, reason
        if code == CloseCode.SLOW:
            metrics.count("closed_slow")
            logger.info("A client does not read and is closed: %s", _peer(self._scope))
        self._stop_reading(0.0 if code == CloseCode.SLOW else CLOSE_TIMEOUT)

    def end_as_slow(self) -> None:
        """End the connection: the client does not read, or lags behind."""
        self.end(CloseCode.SLOW)

    async def close(self, code: int, reason: str = "") -> None:
        """End the connection, and return when the client has been told."""
        self.end(code, reason)
        await self._say_goodbye()

    @property
    def _is_ending(self) -> bool:
        return self.state not in (SocketState.CONNECTING, SocketState.OPEN)

    async def _converse(self, make: Callable[[Scope, WebSocket], Endpoint]) -> None:
        """Read what the client sends, until either side wants to end."""
        try:
            async with self._limit:
                self._endpoint = endpoint = make(self._scope, self)
                message = await self._receive()
                with Inbox(
                    self._receive,
                    self._send_buffer,
                    pace=self._pace,
                    on_lost=self._lose,
                ) as inbox:
                    await endpoint.websocket_prepare()
                    act = endpoint.websocket_connect
                    while message["type"] != "websocket.disconnect":
                        self._is_acting = True
                        await act(message)
                        self._is_acting = False
                        if self._is_ending:
                            return
                        del message  # a page sends one frame and is silent for hours
                        message = await inbox.next()
                        act = endpoint.websocket_receive
                self._leave(message.get("code") or NO_CODE)
        except Exception as error:
            if not (isinstance(error, TimeoutError) and self._limit.expired()):
                self.end(self._code_of(error))

    async def _pace(self) -> None:
        assert self._endpoint is not None
        await self._endpoint.websocket_budget.next_frame(
            self._endpoint.websocket_limited
        )

    def _lose(self) -> None:
        """End everything: the client has left while something runs for it."""
        self._leave(BROKEN)
        self._stop_reading(LEAVE_TIMEOUT)

    def _leave(self, code: int) -> None:
        if not self._is_ending:
            self._code = code
        if self.state is not SocketState.CLOSED:
            self.state = SocketState.GONE

    def _stop_reading(self, grace: float) -> None:
        """Let the time limit expire; one that has expired, or was left, stays so."""
        endpoint, end = self._endpoint, asyncio.get_running_loop().time()
        if self._is_acting and endpoint is not None and endpoint.websocket_finishes:
            end += grace
        with suppress(RuntimeError):
            self._limit.reschedule(end)

    def _code_of(self, error: Exception) -> int:
        if self._endpoint is not None:
            return self._endpoint.websocket_failed(error)
        log_failure("A WebSocket cannot be served.", error)
        return CloseCode.AGAIN

    async def _say_goodbye(self) -> None:
        """Tell the client that it is over, once it has read what goes before."""
        if self.state is SocketState.CLOSING:
            with suppress(Exception):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._send_buffer.ready()
            await self._send_close()

    async def _send_close(self) -> None:
        if self.state is not SocketState.CLOSING:
            return  # whoever has waited beside us was first
        self.state = SocketState.CLOSED
        self._send_buffer.shut()
        message: Message = {"type": "websocket.close", "code": int(self._code)}
        if self._reason:
            message["reason"] = self._reason
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._send(message)

    async def _clean_up(self) -> None:
        if self._endpoint is None:
            return
        try:
            await self._endpoint.websocket_disconnect(
                {"type": "websocket.disconnect", "code": int(self._code)}
            )
        except StopConsumer:
            pass  # what overrides a method of Channels may end like this
        except Exception as error:
            log_failure("A consumer failed after its connection had ended.", error)

    async def _see_off(self) -> None:
        """Wait until the client has gone; drop one that stays or does not read."""
        if self.state is SocketState.GONE or self._early is not None:
            return
        has_left = False
        if self.state is SocketState.CLOSED:
            with suppress(Exception):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    while (await self._receive())["type"] != "websocket.disconnect":
                        pass
                    has_left = True
        if not has_left or self._code == CloseCode.SLOW:
            self._send_buffer.abort()


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unknown"
