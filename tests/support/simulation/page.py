"""
A page in a browser: it connects, subscribes, applies messages, and heals itself.

It does what ``turbo-channels.js`` does with positions, and checks nothing by itself:
:mod:`tests.model.site` looks at what it shows.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from tests.support.simulation.clock import Clock
from tests.support.simulation.process import Process
from turbo.consumers import TurboStreamsConsumer
from turbo.delivery.names import sign

__all__ = ["Page", "Rendered", "Shown"]

#: Seconds from a server to a browser, and of a request for a page.
LATENCY = 0.005
REQUEST = 0.05
#: Seconds before a page connects again, subscribes again, and heals again.
RECONNECT = 0.5
POSTPONE = 0.5
HEAL = 1.0
#: Seconds that a page waits for the answer to a subscription.
PATIENCE = 10.0
SLOW = 4008

_serve = TurboStreamsConsumer.as_asgi()


@dataclass
class Rendered:
    """What a view has read for one stream, and since when the page may be replayed."""

    since: str
    content: Any


class View(Protocol):
    """Renders a page in some server process."""

    def server(self, page: Page) -> Process | None:
        """Return the process that a request of the page reaches."""

    def render(self, process: Process, stream: str) -> Rendered:
        """Render one stream."""


class Watcher(Protocol):
    """Is told what a page shows."""

    def rendered(self, stream: str, content: Any) -> None: ...

    def applied(self, stream: str, position: str, data: str) -> None: ...

    def gap(self, stream: str) -> None: ...


@dataclass
class Shown:
    """One stream on the page: the state of its source element."""

    stream: str
    signed: str = ""
    sid: str = ""
    since: str = ""
    epoch: str = ""
    number: int = 0
    follows: bool = False
    repaired_at: int | None = None
    #: Counts the requests, so that a late answer to an earlier one does not count.
    asked: int | None = None
    tries: int = 0


@dataclass(eq=False)
class Socket:
    """One WebSocket between a page and the consumer in a server process."""

    page: Page
    process: Process
    rate: float | None
    inbox: asyncio.Queue[dict[str, Any]] = field(init=False)
    is_open: bool = True
    reading: asyncio.Event = field(init=False)

    def start(self) -> None:
        """Serve the connection in the process."""
        with self.process.loop.running():
            self.inbox, self.reading = asyncio.Queue(), asyncio.Event()
            self.reading.set()
            self.inbox.put_nowait({"type": "websocket.connect"})
            scope = {
                "type": "websocket",
                "path": "/ws/",
                "headers": [],
                "session": None,
            }
            self.process.loop.create_task(self._serve(scope))

    async def _serve(self, scope: dict[str, Any]) -> None:
        try:
            await _serve(scope, self.inbox.get, self._send)
        finally:
            self._to_page(self.page.closed, self, 1006)

    async def _send(self, message: dict[str, Any]) -> None:
        """Send to the browser; this waits while the browser does not read."""
        if message["type"] == "websocket.send":
            await self.reading.wait()
            if not self.is_open:
                raise ConnectionResetError
            if self.rate:
                await asyncio.sleep(len(message["text"]) / self.rate)
            self._to_page(self.page.received, self, message["text"])
        elif message["type"] == "websocket.close":
            self._to_page(self.page.closed, self, message["code"])

    def _to_page(self, call: Callable[..., None], *args: Any) -> None:
        if self.is_open:
            self.page.clock.later(LATENCY, call, *args)

    def send(self, **frame: Any) -> None:
        """Send a frame of the page."""
        self._to_server({"type": "websocket.receive", "text": json.dumps(frame)})

    def close(self) -> None:
        """End the connection on the page's side."""
        if self.is_open:
            self._to_server({"type": "websocket.disconnect", "code": 1001})
            self.is_open = False
            self.reading.set()

    def _to_server(self, message: dict[str, Any]) -> None:
        if self.process.is_alive:
            self.process.loop.call_later(LATENCY, self.inbox.put_nowait, message)


class Page:
    """One page."""

    def __init__(
        self, clock: Clock, view: View, watcher: Watcher, streams: tuple[str, ...]
    ) -> None:
        self.clock = clock
        self.is_open = False
        #: Bytes that the browser reads in a second; ``None`` is any number.
        self.rate: float | None = None
        self._is_stalled = False
        self._view = view
        self._watcher = watcher
        self._shown = {stream: Shown(stream) for stream in streams}
        self._socket: Socket | None = None
        self._healing = False
        self._healed = -HEAL

    # --- What happens to it

    def open(self) -> None:
        """Load the page."""
        if not self.is_open:
            self.is_open = True
            self._heal_at(0.0)

    def leave(self) -> None:
        """Close the page."""
        self.is_open = False
        self.sleep()

    def sleep(self) -> None:
        """Suspend the page, which ends its socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        for shown in self._shown.values():
            shown.follows, shown.asked = False, None

    def wake(self) -> None:
        """Go on where it was."""
        if self.is_open and self._socket is None:
            self._connect()

    def stall(self) -> None:
        """Read nothing from the socket."""
        self._is_stalled = True
        if self._socket is not None:
            self._socket.reading.clear()

    def read(self) -> None:
        """Read again."""
        self._is_stalled = False
        if self._socket is not None:
            self._socket.reading.set()

    @property
    def process(self) -> Process | None:
        """Return the process that serves the page."""
        return self._socket.process if self._socket else None

    @property
    def follows(self) -> bool:
        """Return whether the page gets live messages of all its streams."""
        return self.is_open and all(shown.follows for shown in self._shown.values())

    @property
    def streams(self) -> tuple[str, ...]:
        """Return the names of its streams."""
        return tuple(self._shown)

    # --- The socket

    def _connect(self) -> None:
        if not self.is_open or self._socket is not None:
            return
        process = self._view.server(self)
        if process is None:
            self.clock.later(RECONNECT, self._connect)
            return
        self._socket = Socket(self, process, self.rate)
        self._socket.start()
        if self._is_stalled:
            self._socket.reading.clear()
        self._ask(self._shown.values())

    def closed(self, socket: Socket, code: int) -> None:
        """Note that the server has closed the socket."""
        socket.is_open = False
        if socket is self._socket:
            self.sleep()
            self.clock.later(RECONNECT, self._connect)

    def _ask(self, wanted: Any) -> None:
        wanted = [shown for shown in wanted if shown.asked is None and shown.signed]
        if self._socket is None or not wanted:
            return
        for shown in wanted:
            shown.asked = self.clock.steps
            self.clock.later(PATIENCE, self._ask_again, shown, shown.asked)
        self._socket.send(
            type="subscribe",
            streams=[{"name": w.signed, "since": w.since} for w in wanted],
        )

    def _ask_again(self, shown: Shown, asked: int) -> None:
        if shown.asked != asked or self._socket is None:
            return
        shown.asked, shown.tries = None, shown.tries + 1
        if shown.tries > 1:
            shown.tries = 0
            socket = self._socket
            socket.close()
            self.closed(socket, 1006)
        else:
            self._ask([shown])

    def received(self, socket: Socket, text: str) -> None:
        """Handle a frame of the server."""
        if socket is not self._socket:
            return
        frame = json.loads(text)
        for shown in self._shown.values():
            if frame.get("name") == shown.signed or frame.get("stream") == shown.sid:
                getattr(self, f"_on_{frame['type']}")(shown, frame)

    # --- Frames

    def _on_subscribed(self, shown: Shown, frame: dict[str, Any]) -> None:
        if frame["name"] != shown.signed:
            return
        shown.sid, shown.asked, shown.tries = frame["stream"], None, 0
        epoch, number = _parsed(frame["position"])
        shown.follows = True
        if not (frame["recovered"] and _is_ahead(shown, epoch, number)):
            shown.epoch, shown.number = epoch, number
            shown.since = frame["position"]
        if not frame["recovered"]:
            self._lose(shown)

    def _on_message(self, shown: Shown, frame: dict[str, Any]) -> None:
        if not shown.follows:
            return
        epoch, number = _parsed(frame["position"])
        if epoch != shown.epoch:
            self._move(shown, epoch, number - 1)
            self._lose(shown)
        if number <= shown.number:
            return
        if number == shown.number + 1:
            self._watcher.applied(shown.stream, frame["position"], frame["data"])
            self._move(shown, epoch, number)
        elif shown.repaired_at == shown.number:
            self._move(shown, epoch, number)
            self._lose(shown)
        else:
            shown.repaired_at, shown.follows = shown.number, False
            self._ask([shown])

    def _on_gap(self, shown: Shown, frame: dict[str, Any]) -> None:
        epoch, number = _parsed(frame["position"])
        if shown.follows and not _is_ahead(shown, epoch, number):
            self._move(shown, epoch, number)
            self._lose(shown)

    def _on_retry(self, shown: Shown, frame: dict[str, Any]) -> None:
        shown.follows, shown.asked = False, None
        self.clock.later(POSTPONE, self._ask, [shown])

    def _on_denied(self, shown: Shown, frame: dict[str, Any]) -> None:
        raise AssertionError(f"A page was denied: {frame}")

    _on_error = _on_denied

    def _on_unsubscribed(self, shown: Shown, frame: dict[str, Any]) -> None:
        """Nothing is to be done: the page has asked for it."""

    def _move(self, shown: Shown, epoch: str, number: int) -> None:
        shown.epoch, shown.number = epoch, number
        shown.since = f"{epoch}:{number}"

    # --- Healing

    def _lose(self, shown: Shown) -> None:
        self._watcher.gap(shown.stream)
        self._heal_at(max(self._healed + HEAL, self.clock.now))

    def _heal_at(self, when: float) -> None:
        if not self._healing:
            self._healing = True
            self.clock.later(when - self.clock.now, self._heal)

    def _heal(self) -> None:
        """Ask a server for the page, and put its answer into the page."""
        self._healing = False
        process = self._view.server(self) if self.is_open else None
        if process is None:
            if self.is_open:
                self._heal_at(self.clock.now + RECONNECT)
            return
        self._healed = self.clock.now
        fresh = {name: self._view.render(process, name) for name in self._shown}
        self.clock.later(REQUEST, self._show, fresh)

    def _show(self, fresh: dict[str, Rendered]) -> None:
        if not self.is_open:
            return
        ended: list[str] = []
        for shown in self._shown.values():
            rendered, before = fresh[shown.stream], shown.signed
            if before:
                ended.append(before)
            self._watcher.rendered(shown.stream, rendered.content)
            shown.signed = sign(shown.stream, since=rendered.since)
            shown.since, shown.epoch, shown.number = rendered.since, "", 0
            shown.follows, shown.asked, shown.repaired_at = False, None, None
        if self._socket is None:
            self._connect()
        else:
            self._ask(self._shown.values())
            if ended:
                self._socket.send(type="unsubscribe", streams=ended)


def _parsed(position: str) -> tuple[str, int]:
    epoch, _, number = position.partition(":")
    return epoch, int(number or 0)


def _is_ahead(shown: Shown, epoch: str, number: int) -> bool:
    return shown.epoch == epoch and shown.number >= number
