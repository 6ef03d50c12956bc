"""A check that opens a WebSocket of the ASGI application, as a page does."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.module_loading import import_string

from turbo.checks.finding import Finding
from turbo.conf import get_settings
from turbo.http.addresses import below_prefix, prefix_of, without_prefix
from turbo.typing import ASGIApplication, Message, Scope

__all__ = ["probe_websocket"]

#: Seconds that the application has to answer.
PATIENCE = 2.0


async def probe_websocket() -> Finding:
    """Open a WebSocket at the path that pages use, and send a ping."""
    name = getattr(settings, "ASGI_APPLICATION", None)
    if not name:
        return Finding.failure(
            "ASGI_APPLICATION is not set, so no application serves the WebSocket.",
            'Set it to "<project>.asgi.application".',
        )
    path = urlsplit(below_prefix(get_settings().websocket_path)).path
    stripped = without_prefix(path, prefix_of())
    found = await _open(name, path)
    if path == stripped:
        return found
    other = await _open(name, stripped)  # some proxies strip the prefix
    if found.decision == other.decision:
        return found
    good, bad = (path, stripped) if found.decision == "ok" else (stripped, path)
    return Finding.warning(
        f"{name} serves the WebSocket of the streams at {good}, but not at {bad}. "
        f"Pages open {path}.",
        f"Use turbo.asgi.get_application(), which serves both; or make sure that the "
        f"proxy {'leaves' if good == path else 'strips'} the prefix {prefix_of()}.",
    )


async def _open(name: str, path: str) -> Finding:
    async with _Socket(import_string(name), _scope(path)) as socket:
        try:
            return await _talk(socket, f"{name} at {path}")
        except ValueError as error:
            # Django's own application and a router without this path raise it.
            return Finding.failure(
                f"{name} does not know the WebSocket path {path}: {error}",
                "Use turbo.asgi.get_application(), or add "
                "turbo.routing.websocket_urlpatterns to its URLRouter.",
            )


async def _talk(socket: _Socket, where: str) -> Finding:
    socket.say({"type": "websocket.connect"})
    answer = await socket.answer()
    if answer["type"] != "websocket.accept":
        return Finding.failure(
            f"{where} refuses a WebSocket from a page of {_host()!r}.",
            "An origin that is not in ALLOWED_HOSTS is refused; the log has details. "
            "Otherwise check the middleware around TurboStreamsConsumer.",
        )
    socket.say({"type": "websocket.receive", "text": json.dumps({"type": "ping"})})
    answer = await socket.answer()
    if answer.get("text") != json.dumps({"type": "pong"}, separators=(",", ":")):
        return Finding.failure(
            f"{where} is a WebSocket, but does not serve the streams.",
            "Another consumer uses this path: change its path, or "
            "TURBO['WEBSOCKET_PATH'].",
        )
    return Finding.ok(f"{where} serves the WebSocket of the streams.")


class _Socket:
    """A connection to an ASGI application without a server."""

    def __init__(self, application: ASGIApplication, scope: Scope) -> None:
        self._incoming: asyncio.Queue[Message] = asyncio.Queue()
        self._outgoing: asyncio.Queue[Message] = asyncio.Queue()
        self._serving = asyncio.ensure_future(
            application(scope, self._incoming.get, self._outgoing.put)
        )

    async def __aenter__(self) -> _Socket:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.say({"type": "websocket.disconnect", "code": 1000})
        await asyncio.wait({self._serving}, timeout=1)
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)

    def say(self, message: Message) -> None:
        """Send a message to the application."""
        self._incoming.put_nowait(message)

    async def answer(self) -> Message:
        """
        Return the next message of the application, or raise its exception.

        The message has an empty type if there is none in time.
        """
        coming = asyncio.ensure_future(self._outgoing.get())
        waiting = {coming, self._serving}
        await asyncio.wait(
            waiting, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
        )
        if coming.done():
            return coming.result()
        coming.cancel()
        if self._serving.done():
            self._serving.result()
        return {"type": ""}


def _scope(path: str) -> Scope:
    host = _host().encode()
    return {
        "type": "websocket",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "wss",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", host), (b"origin", b"https://" + host)],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 443),
        "subprotocols": [],
    }


def _host() -> str:
    """Return a host that pages may come from."""
    hosts: list[Any] = list(settings.ALLOWED_HOSTS)
    named = [str(host).lstrip(".") for host in hosts if host != "*"]
    return named[0] if named else "localhost"
