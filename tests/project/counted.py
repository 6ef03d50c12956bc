"""The project, and at ``/standing`` what its process holds at this moment."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.urls import path

from turbo.asgi import get_application
from turbo.connections import transports
from turbo.consumers import TurboStreamsConsumer
from turbo.delivery.frame import Frame
from turbo.delivery.hub import get_hub
from turbo.server.uvicorn_transport import find as find_in_uvicorn
from turbo.typing import ASGIApplication, Message, Receive, Scope, Send

#: Connections that nothing can be sent to.
blocked: set[object] = set()
#: Frames that were written directly, and those that passed a middleware.
counts = {"direct": 0, "seen": 0}
#: Detached actions that run.
running: set[object] = set()


class CountedTransport:
    """The server's own transport, looked over its shoulder."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.send = transport.send
        self.abort = transport.abort

    def write(self, frame: Frame) -> bool:
        counts["direct"] += 1
        has_room: bool = self._transport.write(frame)
        if not has_room:
            blocked.add(self)
        return has_room

    def on_room(self, callback: Callable[[], None]) -> None:
        self._transport.on_room(lambda: (blocked.discard(self), callback()))

    def on_lost(self, callback: Callable[[], None]) -> None:
        self._transport.on_lost(lambda: (blocked.discard(self), callback()))


def counted(application: ASGIApplication) -> ASGIApplication:
    """Count what goes out, in a way that changes nothing about it."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/standing":
            if scope["query_string"] == b"trim":
                trim()
            await answer(send)
            return
        extensions = scope.get("extensions", {})
        if transport := extensions.get("turbo.transport"):
            extensions["turbo.transport"] = CountedTransport(transport)
        elif (
            scope["type"] == "websocket" and not transports.transport_of(scope, send)[0]
        ):
            send = watched(send)
        await application(scope, receive, send)

    return serve


def watched(send: Send) -> Send:
    """Return a ``send`` that notes while it waits."""
    key = object()

    async def watch(message: Message) -> None:
        blocked.add(key)
        try:
            await send(message)
        finally:
            blocked.discard(key)

    return watch


async def answer(send: Send) -> None:
    hub = get_hub()
    standing = {
        "tasks": len(asyncio.all_tasks()),
        "connections": len(hub._connections),
        "topics": len(hub._topics),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "blocked": len(blocked),
        "running": len(running),
        **counts,
    }
    body = json.dumps(standing).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def trim() -> None:
    """Give what is free back to the system, which the C library does not by itself."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def seeing(application: ASGIApplication) -> ASGIApplication:
    """Wrap an application in a middleware that looks at every frame."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def see(message: Message) -> None:
            counts["seen"] += message["type"] == "websocket.send"
            await send(message)

        await application(scope, receive, see)

    return serve


def patterns() -> list[Any]:
    from turbo.observers import AsyncAPIConsumer, action

    class WorkingConsumer(AsyncAPIConsumer):
        @action(detached=True)
        async def work(self, **kwargs: Any) -> None:
            key = object()
            running.add(key)
            try:
                await asyncio.Event().wait()
            finally:
                running.discard(key)

        @action()
        async def both(self, **kwargs: Any) -> tuple[Any, int]:
            await self.send(bytes_data=b"bytes and more bytes" * 200)
            return ["text and more text"] * 200, 200

    streams: Any = TurboStreamsConsumer.as_asgi()
    return [
        path("seen/", seeing(streams)),
        path("behind/", streams),
        path("working/", WorkingConsumer.as_asgi()),
    ]


def found(send: Send) -> Any:
    """Find the transport of a server that is known, and count what it writes."""
    transport = find_in_uvicorn(send)
    return transport and CountedTransport(transport)


_project = get_application()  # sets Django up
transports.finders[:] = [found]
application = counted(get_application(patterns()))
