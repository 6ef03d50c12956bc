"""
The incoming frames of one WebSocket, one at a time, and its disconnection.

The next frame is read when the one before has been handled, no frame waits to be sent,
and the client's budget allows it. If the client leaves meanwhile, a server with the
extension ``turbo.transport`` reports this; otherwise the next message is read ahead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

from turbo.connections.send_buffer import SendBuffer
from turbo.typing import Message, Receive

__all__ = ["NO_CODE", "Inbox"]

#: The code for a client that closed without a code.
NO_CODE = 1005
#: Seconds that a frame may take before the next message is read ahead.
PATIENCE = 0.5


class Inbox:
    """
    The messages of one client, while its connection is read.

    ``on_lost`` is called when the client leaves while one of its frames is handled; the
    work on this frame should end.
    """

    __slots__ = (
        "_ahead",
        "_is_waited_for",
        "_on_lost",
        "_pace",
        "_receive",
        "_send_buffer",
        "_timer",
    )

    def __init__(
        self,
        receive: Receive,
        send_buffer: SendBuffer,
        *,
        pace: Callable[[], Awaitable[None]],
        on_lost: Callable[[], None],
    ) -> None:
        self._receive = receive
        self._send_buffer = send_buffer
        self._pace = pace
        self._on_lost = on_lost
        self._is_waited_for = False
        self._timer: asyncio.TimerHandle | None = None
        self._ahead: asyncio.Future[Message] | None = None

    def __enter__(self) -> Self:
        self._send_buffer.on_lost = self._lose
        self._watch()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._send_buffer.on_lost = None
        self._rest()
        if self._ahead is not None:
            self._ahead.cancel()

    async def next(self) -> Message:
        """Return the client's next message."""
        await self._pace()
        await self._send_buffer.ready()
        self._rest()
        ahead, self._ahead = self._ahead, None
        self._is_waited_for = True
        try:
            return await (self._receive() if ahead is None else ahead)
        finally:
            self._is_waited_for = False
            self._watch()

    def _watch(self) -> None:
        if not self._send_buffer.tells_of_loss:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(PATIENCE, self._look_ahead)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_ahead(self) -> None:
        if self._send_buffer.is_blocked:  # a lost client makes send() fail
            self._watch()
        elif self._ahead is None:
            self._ahead = asyncio.ensure_future(self._receive())
            self._ahead.add_done_callback(self._look_at)

    def _look_at(self, ahead: asyncio.Future[Message]) -> None:
        if ahead.cancelled() or ahead.exception() is not None:
            return  # next() raises the same exception
        if ahead.result()["type"] == "websocket.disconnect":
            self._lose()

    def _lose(self) -> None:
        if not self._is_waited_for:
            self._on_lost()
