"""
The application that ``manage.py turbo_live`` serves.

It is the application of the project without the site: WebSockets go to it, and of the
requests over HTTP only those for the URLs of ``turbo.urls``. Others are not found.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.urls import Resolver404, resolve
from django.utils.module_loading import import_string

from turbo.asgi import get_application, lifespan
from turbo.conf import get_settings
from turbo.connections.sse import event_stream
from turbo.exceptions import ConfigurationError
from turbo.http.addresses import prefix_of, without_prefix
from turbo.typing import ASGIApplication, Message, Receive, Scope, Send
from turbo.urls import app_name

__all__ = ["HEALTH", "LiveApplication", "project_application"]

#: The path that answers that the server is running.
HEALTH = "/health/"


def project_application() -> ASGIApplication:
    """Return ``ASGI_APPLICATION``, or the application of the streams if it is unset."""
    name = getattr(settings, "ASGI_APPLICATION", None)
    application: ASGIApplication
    application = import_string(name) if name else get_application()
    if isinstance(application, ASGIHandler):
        raise ConfigurationError(
            f"ASGI_APPLICATION is {name!r}, which is Django's own application and "
            f"serves no WebSockets. Use turbo.asgi.get_application() there."
        )
    return application


class LiveApplication:
    """Serves the WebSockets and the event streams of an application."""

    def __init__(self, application: ASGIApplication) -> None:
        self._application = application
        self._end = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection or one request."""
        match scope["type"]:
            case "websocket":
                await self._application(scope, receive, send)
            case "lifespan":
                await lifespan(scope, receive, send)
            case "http":
                await self._respond(scope, receive, send)

    def end(self) -> None:
        """End the event streams; servers would wait until the browsers leave."""
        self._end.set()

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = without_prefix(scope["path"], prefix_of(scope))
        if path == HEALTH:
            await _say(send, HTTPStatus.OK, b"ok\n")
        elif not _is_live(path):
            await _say(send, HTTPStatus.NOT_FOUND, b"This server has no pages.\n")
        else:
            await self._stream(scope, receive, send)

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; at the end of the server, as if its browser had left."""
        last: Message = {"type": "", "more_body": False}

        async def note(message: Message) -> None:
            nonlocal last
            last = message
            await send(message)

        await self._application(scope, self._until_end(receive), note)
        is_open = last["type"] == "http.response.start" or last.get("more_body")
        if self._end.is_set() and is_open:
            await send({"type": "http.response.body", "body": b""})

    def _until_end(self, receive: Receive) -> Callable[[], Awaitable[Message]]:
        async def receive_or_end() -> Message:
            coming = asyncio.ensure_future(receive())
            ending = asyncio.ensure_future(self._end.wait())
            try:
                await asyncio.wait(
                    {coming, ending}, return_when=asyncio.FIRST_COMPLETED
                )
                return coming.result() if coming.done() else {"type": "http.disconnect"}
            finally:
                coming.cancel()
                ending.cancel()

        return receive_or_end


def _is_live(path: str) -> bool:
    """Return whether a path is one of ``turbo.urls``, or that of the event streams."""
    if path == get_settings().sse_path:
        return True
    if not getattr(settings, "ROOT_URLCONF", None):
        return False
    try:
        match = resolve(path)
    except Resolver404:
        return False
    return app_name in match.app_names or match.func is event_stream


async def _say(send: Send, status: HTTPStatus, text: bytes) -> None:
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(text)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
