"""Clients of the wire protocol, for tests that compare frames instead of pages."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any, Self

import websockets
from channels.testing import WebsocketCommunicator
from django.test import AsyncClient, Client

from tests.support.servers import PATIENCE
from turbo.consumers import TurboStreamsConsumer
from turbo.delivery.broadcast import flush
from turbo.replay import get_replay
from turbo.typing import ASGIApplication

__all__ = [
    "LivePage",
    "Socket",
    "Staying",
    "Talk",
    "connect",
    "cookies_of",
    "signed_now",
]


def connect(url: str, **options: Any) -> websockets.connect:
    """Connect over the network, without a time limit of its own."""
    patient: dict[str, Any] = {"ping_interval": None, "open_timeout": PATIENCE}
    return websockets.connect(url, **(patient | options))


def cookies_of(client: Client | AsyncClient) -> tuple[bytes, bytes]:
    """Return the header with which a visitor's WebSocket has the visitor's session."""
    return b"cookie", client.cookies.output(header="", sep=";").strip().encode()


async def signed_now(stream: Any, user: Any = None) -> str:
    """Return a signed name as of now, after its moment has become known."""
    while not get_replay().moment():
        await get_replay().sync_clock()
    return str(stream.sign(user, since=get_replay().moment()))


class Talk:
    """A WebSocket without a network; the consumer runs in the test's event loop."""

    def __init__(
        self, application: ASGIApplication, path: str = "/ws/", **scope: Any
    ) -> None:
        self.communicator = WebsocketCommunicator(application, path)
        self.communicator.scope.update(scope)

    async def __aenter__(self) -> Self:
        connected, _ = await self.communicator.connect(PATIENCE)
        assert connected
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        await self.communicator.disconnect(timeout=PATIENCE)

    async def send(self, **message: Any) -> None:
        await self.send_text(json.dumps(message))

    async def send_text(self, text: str) -> None:
        await self.communicator.send_to(text_data=text)

    async def receive(self, timeout: float = PATIENCE) -> dict[str, Any]:
        text = await self.communicator.receive_from(timeout)
        message: dict[str, Any] = json.loads(text)
        return message


class Socket(Talk):
    """
    A page's WebSocket for its streams.

    Pings are ignored; all other frames must be read in order.
    """

    def __init__(self, user: Any = None, **scope: Any) -> None:
        if user is not None:
            scope["user"] = user
        super().__init__(TurboStreamsConsumer.as_asgi(), **scope)

    async def receive(self, timeout: float = PATIENCE) -> dict[str, Any]:
        async with asyncio.timeout(timeout):
            while (frame := await super().receive(timeout))["type"] == "ping":
                pass
        return frame

    async def subscribe(self, *signed: str, since: str = "") -> list[dict[str, Any]]:
        """Subscribe, and return the answer for each name."""
        streams = [{"name": name, "since": since} for name in signed]
        await self.send(type="subscribe", streams=streams)
        return [await self.receive() for _ in signed]

    async def messages(self, count: int = 1) -> list[str]:
        """Return the data of the next ``count`` frames, which must be messages."""
        frames = [await self.receive() for _ in range(count)]
        assert {frame["type"] for frame in frames} <= {"message"}, frames
        return [frame["data"] for frame in frames]

    async def nothing(self) -> bool:
        """Return whether no earlier broadcast was sent to this socket."""
        await asyncio.to_thread(flush, PATIENCE)
        await self.send(type="ping")
        return await self.receive() == {"type": "pong"}


class Staying:
    """A client over the network that stays connected until its block ends."""

    def __init__(self) -> None:
        self._socket: Any = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._stay())
        await self.until(self._has_arrived)
        return self

    async def __aexit__(self, *exc_info: Any) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a frame that this client gets makes ``condition`` true."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(condition)

    def cut(self) -> None:
        """Break the connection without a close frame, as when the network fails."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _stay(self) -> None:
        raise NotImplementedError

    def _has_arrived(self) -> bool:
        raise NotImplementedError


class LivePage(Staying):
    """
    A client that subscribes and resumes like the browser's, without a browser.

    It reconnects at once when the connection ends, or as soon as :attr:`may_return`,
    until its block ends. ``data`` is what a page would have applied, and ``gaps`` is
    how often it would have refreshed.
    """

    def __init__(
        self, url: str | Sequence[str], *signed: str, since: str = "", **options: Any
    ) -> None:
        super().__init__()
        self._urls = itertools.cycle([url] if isinstance(url, str) else url)
        self._since = dict.fromkeys(signed, since)
        self._options = options
        self._names: dict[str, str] = {}
        self._reached: dict[str, tuple[str, int]] = {}
        self.data: list[str] = []
        self.unnumbered: list[str] = []
        self.denied: list[str] = []
        self.codes: list[int | None] = []
        self.gaps = 0
        self.doubled = 0
        self.subscribed = 0
        self.may_return = asyncio.Event()
        self.may_return.set()

    def _has_arrived(self) -> bool:
        return self.subscribed + len(self.denied) >= len(self._since)

    async def _stay(self) -> None:
        pause = 0.0
        while True:
            try:
                await self._visit(next(self._urls))
                pause = 0.0
            except (OSError, websockets.WebSocketException):
                pause = min(pause + 0.05, 0.5)
            await asyncio.sleep(self.away + pause)
            await self.may_return.wait()

    #: Seconds between a cut and the next attempt.
    away = 0.0

    async def _visit(self, url: str) -> None:
        options: dict[str, Any] = {"origin": url.replace("ws", "http", 1)}
        options |= self._options
        async with connect(f"{url}/ws/", **options) as socket:
            self._socket = socket
            streams = [{"name": n, "since": s} for n, s in self._since.items()]
            await socket.send(json.dumps({"type": "subscribe", "streams": streams}))
            try:
                async for text in socket:
                    await self._hear(json.loads(text), socket)
            finally:
                self._socket = None
                self.codes.append(socket.close_code)

    async def _hear(self, frame: dict[str, Any], socket: Any) -> None:
        match frame["type"]:
            case "subscribed":
                self._names[frame["stream"]] = frame["name"]
                self.subscribed += 1
                self.gaps += not frame["recovered"]
                self._reach(frame, force=True)
            case "message" if not frame["position"]:
                self.unnumbered.append(frame["data"])
            case "message":
                if self._reach(frame):
                    self.data.append(frame["data"])
                else:
                    self.doubled += 1
            case "gap":
                self.gaps += 1
                if frame["position"]:
                    self._reach(frame, force=True)
            case "denied":
                self.denied.append(frame["reason"])
                self._since.pop(frame["name"], None)
            case "retry":
                await asyncio.sleep(0.1)
                again = {"name": frame["name"], "since": self._since[frame["name"]]}
                await socket.send(json.dumps({"type": "subscribe", "streams": [again]}))
        await self._tell()

    def _reach(self, frame: dict[str, Any], *, force: bool = False) -> bool:
        epoch, _, number = frame["position"].rpartition(":")
        reached = self._reached.get(frame["stream"])
        if not force and reached and reached[0] == epoch and int(number) <= reached[1]:
            return False
        self._reached[frame["stream"]] = (epoch, int(number))
        self._since[self._names[frame["stream"]]] = frame["position"]
        return True
