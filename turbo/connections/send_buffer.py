"""
The bounded buffer of outgoing frames of one WebSocket.

A frame is handed to the server at once, without a task: the coroutine of ASGI's
``send`` is stepped by hand, and mostly it ends within that step. If it waits instead,
because the client does not read, the rest of it becomes a task, and later frames wait
in a queue of at most ``QUEUE_BYTES``. If there are more, the subscriber counts as slow
and is closed.

Frames are written directly to the transport of a server that has one, which reports
when its buffer is full and when there is room again: see
:mod:`turbo.connections.transports`. If middleware has replaced the server's ``send``
with its own, frames go through that, so that the middleware sees them.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Generator
from functools import partial
from types import coroutine
from typing import Any, cast

from turbo.conf import get_settings
from turbo.connections.transports import (
    Pipe,
    SocketTransport,
    inmost,
    is_same,
    transport_of,
)
from turbo.delivery.frame import Frame
from turbo.typing import Message, Scope, Send

__all__ = ["SendBuffer"]

#: Seconds for a client to read the last frames.
GRACE = 2.0


class SendBuffer:
    """The outgoing frames of one subscriber."""

    __slots__ = (
        "_below",
        "_blocked",
        "_bytes",
        "_closed",
        "_descriptor",
        "_direct",
        "_limit",
        "_on_slow",
        "_pipe",
        "_queue",
        "_room",
        "_send",
        "_task",
        "_transport",
        "_write",
        "on_lost",
        "tells_of_loss",
    )

    def __init__(
        self,
        scope: Scope,
        send: Send,
        *,
        on_slow: Callable[[], None],
    ) -> None:
        transport, is_offered = transport_of(scope, send)
        self._send = send
        self._limit = get_settings().queue_bytes
        self._on_slow = on_slow
        self._transport = transport
        self._write: Callable[[Frame], bool] | None = None
        if transport is not None and is_same(inmost(send), transport.send):
            self._write = transport.write
        #: Whether ``on_lost`` is called when the client has gone.
        self.tells_of_loss = is_offered and self._write is not None
        # The transport's write, and the pipe of its socket, while the buffer is open
        # and there is room. Nearly every frame goes there, with few look-ups.
        self._direct: Callable[[Frame], bool] | None = None
        self._pipe: Pipe | None = None
        self._descriptor: int = getattr(transport, "descriptor", 0)
        self._below: int = getattr(transport, "below", 0)
        self._go_direct()
        #: Called when the server reports that the client has gone.
        self.on_lost: Callable[[], None] | None = None
        # Most connections never need the next three.
        self._queue: deque[Frame] | None = None
        self._task: asyncio.Task[None] | None = None
        self._room: asyncio.Event | None = None
        self._bytes = 0
        self._blocked = False
        self._closed = False
        if transport is not None:
            is_direct = self._write is not None
            transport.on_room(self._drain if is_direct else _nothing)
            if self.tells_of_loss:
                transport.on_lost(self._lose)

    def put(self, frame: Frame) -> None:
        """Send ``frame`` after those that wait; this never blocks or raises."""
        pipe = self._pipe
        if (
            pipe is not None
            and frame.size < self._below
            and not pipe.get_write_buffer_size()
            and not pipe.is_closing()
        ):
            data = frame.websocket
            try:
                sent = os.write(self._descriptor, data)
            except OSError:  # full; or broken, which the server will find
                sent = 0
            if sent < len(data):
                self._write_rest(data[sent:])
        elif (direct := self._direct) is not None:
            if not direct(frame):
                self._block()
        elif self._closed:
            return
        elif self._blocked:
            self._keep(frame)
        else:
            self._step(frame)

    async def ready(self) -> None:
        """Wait until no frame waits, to slow down clients that ask for much."""
        while self._blocked:
            if self._room is None:
                self._room = asyncio.Event()
            await self._room.wait()

    @property
    def is_blocked(self) -> bool:
        """Return whether the server has no room for another frame."""
        return self._blocked

    @property
    def waiting(self) -> int:
        """Return the size of the waiting frames."""
        return self._bytes

    @property
    def room(self) -> int:
        """Return how many bytes may be added to the waiting frames."""
        return self._limit - self._bytes

    def shut(self) -> None:
        """Take no more frames, and drop those that wait."""
        self._closed = True
        self._direct = self._pipe = None
        self._queue = None
        self._bytes = 0

    async def close(self) -> None:
        """
        Take no more frames, and wake all callers of :meth:`ready`.

        A client that does not read what waits for it is dropped after a short time.
        """
        if self._blocked and self._transport is not None:
            asyncio.get_running_loop().call_later(GRACE, self._transport.abort)
        self.shut()
        self._unblock()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def abort(self) -> None:
        """Drop the connection, if the server supports this."""
        if self._transport is not None:
            self._transport.abort()

    def _go_direct(self) -> None:
        self._direct = self._write
        if self._write is not None:
            self._pipe = getattr(self._transport, "pipe", None)

    def _write_rest(self, data: bytes) -> None:
        transport = cast("SocketTransport", self._transport)
        if not transport.write_rest(data):
            self._block()

    def _keep(self, frame: Frame) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append(frame)
        self._bytes += frame.size
        if self._bytes > self._limit:
            self.shut()
            self._on_slow()

    def _lose(self) -> None:
        self.shut()
        self._unblock()
        if self.on_lost is not None:
            self.on_lost()

    def _drain(self) -> None:
        self._unblock()
        while self._queue and not self._blocked:
            self.put(self._take(self._queue))

    def _step(self, frame: Frame) -> None:
        sending = self._send(_message(frame.text)).__await__()
        try:
            waits_for = next(sending)
        except StopIteration:
            return
        except Exception:
            self.shut()  # the connection is lost; receive() reports it
            return
        self._block()
        self._task = asyncio.ensure_future(self._finish(sending, waits_for))

    async def _finish(self, sending: Generator[Any], waits_for: Any) -> None:
        try:
            await _rest(sending, waits_for)
            while self._queue:
                await self._send(_message(self._take(self._queue).text))
        except Exception:
            self.shut()
        finally:
            self._unblock()

    def _take(self, queue: deque[Frame]) -> Frame:
        frame = queue.popleft()
        self._bytes -= frame.size
        return frame

    def _block(self) -> None:
        self._blocked = True
        self._direct = self._pipe = None

    def _unblock(self) -> None:
        self._blocked = False
        if not self._closed:
            self._go_direct()
        if self._room is not None:
            self._room.set()
            self._room = None


def _nothing() -> None:
    """Do nothing: a task waits for frames that go through ``send``."""


def _message(text: str) -> Message:
    return {"type": "websocket.send", "text": text}


@coroutine
def _rest(sending: Generator[Any], waits_for: Any) -> Generator[Any, Any, None]:
    """
    Continue a coroutine that was stepped once and yielded ``waits_for``.

    Some servers have an awaitable of their own, which is an iterator and nothing else.
    """
    step: Callable[[], Any]
    while True:
        try:
            yield waits_for
        except BaseException as error:
            if not hasattr(sending, "throw"):  # it is no generator
                raise
            step = partial(sending.throw, error)
        else:
            step = partial(next, sending)
        try:
            waits_for = step()
        except StopIteration:
            return
