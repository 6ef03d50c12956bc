"""
A small site whose wire protocol a test scripts, frame by frame if need be.

A :class:`Site` serves pages and the WebSocket on one port of this process. Left alone
it answers like the real server: it numbers what is published, replays what a page has
missed, and signs every name anew. A test puts its own answer into ``answer``, cuts the
sockets, holds a page back, or says something that no good server would.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.support.servers import PATIENCE

STATIC = Path(__file__).resolve().parents[2] / "turbo" / "static" / "turbo"

#: What a careful site sends. Turbo's progress bar brings a style of its own.
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; "
    "style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'"
)

#: As ``turbo/head.html`` brings them.
SCRIPTS = ("turbo.js", "turbo-channels.js")

Frame: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """A response that is no ordinary page; with ``status`` 0 the connection breaks."""

    text: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Page: TypeAlias = str | Reply
View: TypeAlias = Callable[[], Page | Awaitable[Page]]


@dataclass(eq=False)
class Socket:
    """One connection of a page: what it said, and what it is subscribed to."""

    connection: ServerConnection
    received: list[Frame] = field(default_factory=list)
    streams: dict[str, str] = field(default_factory=dict)
    is_open: bool = True

    @property
    def path(self) -> str:
        request = self.connection.request
        return request.path if request else ""

    async def send(self, frame: Frame) -> None:
        await self.connection.send(json.dumps(frame))

    async def close(self, code: int) -> None:
        await self.connection.close(code)

    def cut(self) -> None:
        """End the connection as a broken network does: without a close frame."""
        self.is_open = False
        self.connection.transport.abort()

    def asked(self) -> list[Frame]:
        """Return the entries of all subscribe frames so far."""
        frames = [frame for frame in self.received if frame["type"] == "subscribe"]
        return [entry for frame in frames for entry in frame["streams"]]


Answer: TypeAlias = Callable[[Socket, str, str], Awaitable[bool]]


class Site:
    """Pages, streams and sockets; everything happens on the test's event loop."""

    def __init__(self) -> None:
        self.views: dict[str, View] = {}
        self.requests: list[str] = []
        self.static = STATIC
        self.static_requests: list[str] = []
        #: Further static files by their path below ``/static/``.
        self.files: dict[str, Path] = {}
        self.sockets: list[Socket] = []
        self.log: dict[str, list[str]] = {}
        self.epoch = "e1"
        #: Handles a subscription; returns whether it did. Else it is accepted.
        self.answer: Answer | None = None
        #: As if the network swallowed everything: frames arrive, and none is answered.
        self.is_silent = False
        self.headers: dict[str, str] = {}
        self._moments: dict[str, tuple[str, dict[str, int]]] = {}
        self._serials = count(1)
        self._changed = asyncio.Condition()
        self._server: Server | None = None

    # --- Pages

    def url(self, path: str = "/") -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{path}"

    def show(self, path: str, *streams: str, head: str = "", body: str = "") -> None:
        """Serve a page that lists the messages of each stream, and hears of more."""
        self.views[path] = lambda: self.html(*streams, head=head, body=body)

    def hold(self, path: str) -> Callable[[], None]:
        """Render a page at once; answer with it when the result is called."""
        view, released = self.views[path], asyncio.Event()

        async def held() -> Page:
            html = view()
            assert isinstance(html, Page)
            await released.wait()
            return html

        self.views[path] = held
        return released.set

    def html(
        self,
        *streams: str,
        head: str = "",
        body: str = "",
        scripts: Sequence[str] = SCRIPTS,
    ) -> str:
        # Turbo fetches a page as soon as the pointer is over its link: not by chance.
        if "turbo-prefetch" not in head:
            head += '<meta name="turbo-prefetch" content="false">'
        head += "".join(
            f'<script type="module" src="/static/{name}"></script>' for name in scripts
        )
        shown = "".join(self.source(name) + self.listing(name) for name in streams)
        return (
            f'<!doctype html><html><head><meta charset="utf-8"><title>t</title>{head}'
            f"</head><body>{shown}{body}</body></html>"
        )

    def source(self, stream: str, *, name: str = "", since: str | None = None) -> str:
        name = name or self.sign(stream)
        since = self.moment() if since is None else since
        return (
            f'<turbo-channels-stream-source signed-stream-name="{name}" '
            f'since="{since}"></turbo-channels-stream-source>'
        )

    def listing(self, stream: str) -> str:
        items = "".join(f"<li>{text}</li>" for text in self.log.get(stream, []))
        return f'<ul id="{stream}">{items}</ul>'

    def sign(self, stream: str) -> str:
        """Return a name that was never used before, as a timestamp would make it."""
        return f"{stream}~{next(self._serials)}"

    def moment(self) -> str:
        tips = {stream: len(messages) for stream, messages in self.log.items()}
        moment = f"@{len(self._moments)}.h"
        self._moments[moment] = (self.epoch, tips)
        return moment

    # --- Streams

    async def publish(self, stream: str, *texts: str) -> None:
        """Append an item for each text to the stream's list, in every page."""
        for text in texts:
            self.log.setdefault(stream, []).append(text)
            frame = self.message(stream, len(self.log[stream]))
            for socket in self.open_sockets():
                if stream in socket.streams.values():
                    await socket.send(frame)

    def message(self, stream: str, number: int) -> Frame:
        text = self.log[stream][number - 1]
        return {
            "type": "message",
            "stream": f"id-{stream}",
            "position": f"{self.epoch}:{number}",
            "data": text if text.startswith("<") else append(stream, text),
        }

    def open_sockets(self) -> list[Socket]:
        return [socket for socket in self.sockets if socket.is_open]

    async def accept(self, socket: Socket, name: str, since: str) -> None:
        """Do what the real server does."""
        stream = name.partition("~")[0]
        tip = len(self.log.get(stream, []))
        base = self._base(stream, since)
        socket.streams[name] = stream
        position = f"{self.epoch}:{tip if base is None else base}"
        recovered = base is not None
        await socket.send(subscribed(name, position=position, recovered=recovered))
        for number in range(tip if base is None else base, tip):
            await socket.send(self.message(stream, number + 1))

    def _base(self, stream: str, since: str) -> int | None:
        if since == "":
            return len(self.log.get(stream, []))
        if since in self._moments:
            epoch, tips = self._moments[since]
            return tips.get(stream, 0) if epoch == self.epoch else None
        epoch, _, number = since.partition(":")
        return int(number) if epoch == self.epoch and number else None

    # --- Waiting

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a frame, a request or a connection makes ``condition`` true."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(condition)

    async def requested(self, path: str, number: int) -> None:
        """Wait until a page was asked for so many times."""
        await self.until(lambda: self.requests.count(path) == number)

    async def socket(self, number: int = 1) -> Socket:
        """Wait for the ``number``-th connection since the start."""
        await self.until(lambda: len(self.sockets) >= number)
        return self.sockets[number - 1]

    async def subscription(self, stream: str, number: int = 1) -> Frame:
        """Wait until ``stream`` was asked for ``number`` times, and return how."""
        await self.until(lambda: len(self.asked(stream)) >= number)
        return self.asked(stream)[number - 1]

    def asked(self, stream: str) -> list[Frame]:
        entries = [entry for socket in self.sockets for entry in socket.asked()]
        return [entry for entry in entries if entry["name"].startswith(f"{stream}~")]

    # --- Serving

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Site]:
        async with serve(
            self._serve, "127.0.0.1", 0, process_request=self._http, ping_interval=None
        ) as server:
            self._server = server
            yield self
            for socket in self.open_sockets():
                socket.cut()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _serve(self, connection: ServerConnection) -> None:
        socket = Socket(connection)
        self.sockets.append(socket)
        await self._notify()
        try:
            async for text in connection:
                frame = json.loads(text)
                socket.received.append(frame)
                await self._notify()
                await self._handle(socket, frame)
        except ConnectionClosed:
            pass
        finally:
            socket.is_open = False
            await self._notify()

    async def _handle(self, socket: Socket, frame: Frame) -> None:
        if self.is_silent:
            return
        if frame["type"] == "ping":
            await socket.send({"type": "pong"})
        for entry in frame.get("streams", []):
            if frame["type"] == "unsubscribe":
                socket.streams.pop(entry, None)
                await socket.send({"type": "unsubscribed", "name": entry})
                continue
            name, since = entry["name"], entry["since"]
            if self.answer is None or not await self.answer(socket, name, since):
                await self.accept(socket, name, since)

    async def _http(
        self, connection: ServerConnection, request: Request
    ) -> Response | None:
        path = request.path.partition("?")[0]
        if path.endswith("/ws/"):
            return None
        if path.startswith("/static/"):
            self.static_requests.append(request.path)
            name = path.removeprefix("/static/")
            file = self.files.get(name, self.static / name)
            return self._respond(file.read_bytes(), "text/javascript")
        self.requests.append(request.path)
        await self._notify()
        if path not in self.views:
            return self._respond(b"not here", "text/html", status=404)
        page = self.views[path]()
        page = page if isinstance(page, Page) else await page
        reply = page if isinstance(page, Reply) else Reply(page)
        if reply.status == 0:
            connection.transport.abort()
        return self._respond(
            reply.text.encode(),
            "text/html; charset=utf-8",
            status=reply.status,
            extra=reply.headers,
        )

    def _respond(
        self,
        body: bytes,
        content_type: str,
        status: int = 200,
        extra: Mapping[str, str] = MappingProxyType({}),
    ) -> Response:
        headers = {
            "Content-Type": content_type,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": POLICY,
            "Connection": "close",
            **self.headers,
            **extra,
        }
        return Response(status, "", Headers(headers), body)


def append(target: str, text: str) -> str:
    return (
        f'<turbo-stream action="append" target="{target}">'
        f"<template><li>{text}</li></template></turbo-stream>"
    )


def subscribed(name: str, *, position: str, recovered: bool = True) -> Frame:
    return {
        "type": "subscribed",
        "name": name,
        "stream": f"id-{name.partition('~')[0]}",
        "position": position,
        "recovered": recovered,
    }
