"""
The bounded buffer of outgoing frames of one WebSocket.

A frame is handed to the server at once, without a task: the coroutine of ASGI's
``send`` is stepped by hand, and mostly it ends within that step. If it waits instead,
because the client does not read, the rest of it becomes a task, and later frames wait
in a queue of at most ``QUEUE_BYTES``. If there are more, the subscriber counts as slow
and is closed.

Frames are written directly to a server with the extension ``turbo.transport``, which
reports when its buffer is full, when there is room again, and when the client has gone.
If middleware has replaced the server's ``send`` with its own, frames go through that,
so that the middleware sees them.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Generator
from functools import partial
from types import coroutine
from typing import Any, Protocol

from channels.sessions import InstanceSessionWrapper

from turbo.conf import get_settings
from turbo.delivery.frame import Frame
from turbo.typing import Message, Scope, Send

__all__ = ["SendBuffer", "Transport"]


class Transport(Protocol):
    """
    The object that a server puts at ``scope["extensions"]["turbo.transport"]``.

    ``write`` takes a frame at once and returns whether there is room for another one.
    If there is none, the callback of ``on_room`` is called as soon as there is.
    """

    #: The server's own ``send``.
    send: Send

    def write(self, frame: Frame) -> bool:
        """Write one text frame."""

    def on_room(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` whenever the buffer has drained."""

    def on_lost(self, callback: Callable[[], None]) -> None:
        """Call ``callback()`` when the connection is lost."""

    def abort(self) -> None:
        """Drop the connection and the content of its buffer."""


class SendBuffer:
    """The outgoing frames of one subscriber."""

    __slots__ = (
        "_blocked",
        "_bytes",
        "_closed",
        "_direct",
        "_limit",
        "_on_slow",
        "_queue",
        "_room",
        "_send",
        "_task",
        "_transport",
        "_write",
        "on_lost",
    )

    def __init__(
        self,
        scope: Scope,
        send: Send,
        *,
        on_slow: Callable[[], None],
    ) -> None:
        extensions: dict[str, Any] = scope.get("extensions") or {}
        transport: Transport | None = extensions.get("turbo.transport")
        self._send = send
        self._limit = get_settings().queue_bytes
        self._on_slow = on_slow
        self._transport = transport
        self._write: Callable[[Frame], bool] | None = None
        if transport is not None and _inmost(send) == transport.send:
            self._write = transport.write
        # The transport's write, while the buffer is open and there is room. This is one
        # look-up, because nearly every frame takes this way.
        self._direct: Callable[[Frame], bool] | None = self._write
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
            if is_direct:
                transport.on_lost(self._lose)

    def put(self, frame: Frame) -> None:
        """Send ``frame`` after those that wait; this never blocks or raises."""
        direct = self._direct
        if direct is not None:
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
    def tells_of_loss(self) -> bool:
        """Return whether ``on_lost`` is called when the client has gone."""
        return self._write is not None

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
        self._direct = None
        self._queue = None
        self._bytes = 0

    async def close(self) -> None:
        """Take no more frames, and wake all callers of :meth:`ready`."""
        self.shut()
        self._unblock()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def abort(self) -> None:
        """Drop the connection, if the server supports this."""
        if self._transport is not None:
            self._transport.abort()

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
        self._direct = None

    def _unblock(self) -> None:
        self._blocked = False
        if not self._closed:
            self._direct = self._write
        if self._room is not None:
            self._room.set()
            self._room = None


def _inmost(send: Send) -> Send:
    """Return ``send`` without Channels' session wrappers, which act on HTTP only."""
    while getattr(send, "__func__", None) is InstanceSessionWrapper.send:
        send = send.__self__.real_send  # type: ignore[attr-defined]
    return send


def _nothing() -> None:
    """Do nothing: a task waits for frames that go through ``send``."""


def _message(text: str) -> Message:
    return {"type": "websocket.send", "text": text}


@coroutine
def _rest(sending: Generator[Any], waits_for: Any) -> Generator[Any, Any, None]:
    """Continue a coroutine that was stepped once and yielded ``waits_for``."""
    step: Callable[[], Any]
    while True:
        try:
            value = yield waits_for
        except BaseException as error:
            step = partial(sending.throw, error)
        else:
            step = partial(sending.send, value)
        try:
            waits_for = step()
        except StopIteration:
            return
