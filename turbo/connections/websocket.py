"""
The life cycle of a WebSocket, for pages, observers, bindings and pub/sub.

:class:`WebSocket` is one connection. Its :class:`Endpoint` decides which clients to
accept, handles the frames, and cleans up. A socket is in one of five states::

    CONNECTING ──accept()──> OPEN ──end()──> CLOSING ──the close frame──> CLOSED
        │                      │                │
        └── the client leaves ─┴────────────────┴──> GONE

* CONNECTING: the client waits. Frames for it are kept until it is accepted.
* OPEN: frames go both ways.
* CLOSING: the server has chosen the close code, by :meth:`WebSocket.end`, after a
  failure, because the client does not read (4008), or because the server ends (1012).
  Only the first code counts. No more frames are read, and the client may read the
  frames sent before. A refused socket gets here without having been open.
* CLOSED: the close frame has been sent, once. Nothing is sent after it.
* GONE: the client has left. Nothing is sent.

One task serves a connection: it reads a frame, lets the endpoint handle it, and reads
the next one. To end the connection, the time limit of this task is set to expire, so
that it stops waiting. In CLOSING or GONE, the task sends the code, if the client is
still there, and always cleans up. Then it gives the client a short time to close its
side, and drops the connection.
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
from turbo.connections.connection import whole
from turbo.connections.inbox import NO_CODE, Inbox
from turbo.connections.namespaces import has_entered, in_its_namespace
from turbo.connections.send_buffer import SendBuffer
from turbo.delivery.frame import Frame
from turbo.delivery.protocol import CloseCode
from turbo.runtime import loops
from turbo.runtime.failures import log_failure
from turbo.runtime.namespaces import is_used
from turbo.typing import ASGIApplication, Message, Receive, Scope, Send

__all__ = ["Endpoint", "Link", "SocketState", "WebSocket", "application"]

logger = logging.getLogger("turbo.consumers")

#: Seconds for a client to read the last frames, and then to leave.
CLOSE_TIMEOUT = 2.0
#: Seconds that work for a client may go on after it has left.
LEAVE_TIMEOUT = 1.0
#: The code of a connection that broke.
BROKEN = 1006


class SocketState(Enum):
    """The states of a socket."""

    CONNECTING = "connecting"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"
    GONE = "gone"


class Link(Protocol):
    """The interface through which an endpoint sends to its client."""

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
        """Accept the client."""

    async def close(self, code: int, reason: str = "") -> None:
        """End or refuse the connection, and wait until the client has been told."""

    def end_as_slow(self) -> None:
        """End the connection because the client is too slow."""


class Endpoint:
    """
    The base class of objects that serve a client: a consumer, or a multiplexer.

    All methods that a socket calls begin with ``websocket_``, so that projects can give
    their consumers methods with any other names.
    """

    __slots__ = ()

    #: So that pytest takes no class named ``Test…`` for a test.
    __test__: ClassVar[bool] = False
    #: Whether work for a client may go on for a short time when the connection ends.
    websocket_finishes: ClassVar[bool] = False

    def __init__(self, scope: Scope, socket: WebSocket) -> None:
        """Begin to serve a connection."""

    @classmethod
    def as_asgi(cls) -> ASGIApplication:
        """Return an ASGI application that serves each connection."""
        return application(cls, cls.__qualname__)

    @property
    def websocket_budget(self) -> ConnectionBudget:
        """Return the budget of the client, once it has connected."""
        raise NotImplementedError

    async def websocket_prepare(self) -> None:
        """Wait for anything that is needed before the client is accepted."""

    async def websocket_connect(self, message: Message) -> None:
        """Accept the client or end the connection."""

    async def websocket_receive(self, message: Message) -> None:
        """Handle a frame."""

    async def websocket_disconnect(self, message: Message) -> None:
        """Clean up after the connection has ended, in any state."""

    def websocket_limited(self) -> None:
        """Tell the client that it sends frames faster than they are read."""

    def websocket_failed(self, error: Exception) -> int:
        """Log a failure, and return the close code of the connection."""
        log_failure(f"{type(self).__qualname__} failed to serve a client.", error)
        return CloseCode.AGAIN


def application(
    make: Callable[[Scope, WebSocket], Endpoint], name: str
) -> ASGIApplication:
    """Return an ASGI application in which each connection has its own endpoint."""

    def serve(scope: Scope, receive: Receive, send: Send) -> Any:
        if is_used() and not has_entered(scope):
            return in_its_namespace(serve, scope, receive, send)
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
        # Expires when no more frames are to be read.
        self._limit = asyncio.timeout(None)
        self._is_acting = False  # the endpoint handles a message
        self._send_buffer = SendBuffer(scope, send, on_slow=self.end_as_slow)
        self._early: list[Frame] | None = []  # until the client is accepted
        #: Sends a text frame, now or soon; it never blocks or raises.
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
            try:
                await self._send_buffer.close()
            finally:
                await self._clean_up()
        await self._see_off()

    async def accept(
        self,
        subprotocol: str | None = None,
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        """Accept the client, and send the frames that were put before."""
        if self._is_over:
            return
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
        """Send a binary frame, unless the connection is over."""
        await self._send_buffer.ready()
        if not self._is_over:
            await self._send({"type": "websocket.send", "bytes": data})

    def room(self) -> int:
        """Return how many bytes may wait before the client counts as slow."""
        return self._send_buffer.room

    async def ready(self) -> None:
        """Wait until no frame waits to be sent; other tasks may run first."""
        await asyncio.sleep(0)
        await self._send_buffer.ready()

    def end(self, code: int, reason: str = "") -> None:
        """End the connection after the frames sent so far, or refuse it."""
        if self._is_ending:
            return
        self.state, self._code, self._reason = SocketState.CLOSING, code, reason
        if code == CloseCode.SLOW:
            metrics.count("closed_slow")
            logger.info("A client that does not read is closed: %s", _peer(self._scope))
        self._stop_reading(0.0 if code == CloseCode.SLOW else CLOSE_TIMEOUT)

    def end_as_slow(self) -> None:
        """End the connection because the client does not read or is too slow."""
        self.end(CloseCode.SLOW)

    async def close(self, code: int, reason: str = "") -> None:
        """End the connection, and wait until the client has been told."""
        self.end(code, reason)
        await self._say_goodbye()

    @property
    def _is_ending(self) -> bool:
        return self.state not in (SocketState.CONNECTING, SocketState.OPEN)

    @property
    def _is_over(self) -> bool:
        return self.state in (SocketState.CLOSED, SocketState.GONE)

    async def _converse(self, make: Callable[[Scope, WebSocket], Endpoint]) -> None:
        """Read the client's messages until either side ends the connection."""
        try:
            async with self._limit:
                with whole():
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
        """End the connection when the client leaves while a frame is handled."""
        self._leave(BROKEN)
        self._stop_reading(LEAVE_TIMEOUT)

    def _leave(self, code: int) -> None:
        if not self._is_ending:
            self._code = code
        if self.state is not SocketState.CLOSED:
            self.state = SocketState.GONE

    def _stop_reading(self, grace: float) -> None:
        """Let the time limit expire, unless it has expired or was left already."""
        endpoint, end = self._endpoint, asyncio.get_running_loop().time()
        if self._is_acting and endpoint is not None and endpoint.websocket_finishes:
            end += grace
        with suppress(RuntimeError):
            self._limit.reschedule(end)

    def _code_of(self, error: Exception) -> int:
        if self._endpoint is not None:
            return self._endpoint.websocket_failed(error)
        log_failure("A WebSocket could not be served.", error)
        return CloseCode.AGAIN

    async def _say_goodbye(self) -> None:
        """Send the close frame, once the client has read the frames before it."""
        if self.state is SocketState.CLOSING:
            with suppress(Exception):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await self._send_buffer.ready()
            await self._send_close()

    async def _send_close(self) -> None:
        if self.state is not SocketState.CLOSING:
            return  # another task has sent it meanwhile
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
            pass  # methods that override one of Channels may raise this
        except Exception as error:
            log_failure("A consumer failed after its connection had ended.", error)

    async def _see_off(self) -> None:
        """Wait until the client has gone; drop it if it stays or does not read."""
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
