"""
The check of the origin of a WebSocket.

A page of any site can open a WebSocket. The browser sends its cookies for our site and
names the page's site in ``Origin``. Django's own rule for unsafe requests is applied
here: the origin must be our site, by scheme, host and port, or one of
``CSRF_TRUSTED_ORIGINS``. In addition, its host must be one of ``ALLOWED_HOSTS``,
because the other site could read the answers of a socket.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable, Set
from functools import lru_cache
from io import BytesIO
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http.request import validate_host
from django.utils.http import is_same_domain

from turbo.runtime.log_once import once_a_minute
from turbo.typing import ASGIApplication, Receive, Scope, Send

__all__ = ["OriginValidator"]

logger = logging.getLogger("turbo.consumers")

_PORTS = {"http": 80, "https": 443}
#: Bytes of headers up to which an answer is kept.
KEPT = 1_000
_HEADERS = frozenset({b"origin", b"host", b"x-forwarded-host", b"x-forwarded-port"})
_LISTS = ("ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "SECURE_PROXY_SSL_HEADER")


class OriginValidator:
    """
    Accept only WebSockets that were opened by a page of this site.

    Programs other than browsers send no origin. They are accepted if all hosts are
    allowed, or with ``required=False``.
    """

    def __init__(self, application: ASGIApplication, *, required: bool = True) -> None:
        self.application = application
        self.required = required

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection, or answer 403 and log the reason once a minute."""
        problem = self._problem(scope)
        if not problem:
            await self.application(scope, receive, send)
            return
        if once_a_minute("origins"):
            logger.warning("A WebSocket was refused: %s", problem)
        if (await receive())["type"] == "websocket.connect":
            await send({"type": "websocket.close"})

    def _problem(self, scope: Scope) -> str:
        """Return why the origin is refused, or ``""``."""
        handshake = _handshake(scope)
        size = sum(len(name) + len(value) for name, value in handshake.headers)
        answer = _answer if size <= KEPT else _answer.__wrapped__
        return answer(handshake, self.required, _settings())


class _Handshake(NamedTuple):
    """What the answer depends on, besides settings."""

    scheme: str
    server: tuple[Any, ...] | None
    headers: tuple[tuple[bytes, bytes], ...]

    def request(self) -> ASGIRequest:
        """Return the handshake as an HTTP request."""
        scheme = {"ws": "http", "wss": "https"}.get(self.scheme, "http")
        scope = {"type": "http", "method": "GET", "path": "/", "scheme": scheme}
        return ASGIRequest(
            {**scope, "headers": self.headers, "server": self.server}, BytesIO()
        )


def _handshake(scope: Scope) -> _Handshake:
    names: Set[bytes] = _HEADERS
    proxy = settings.SECURE_PROXY_SSL_HEADER
    if proxy:
        header = str(proxy[0]).removeprefix("HTTP_").replace("_", "-").lower()
        names = {*names, header.encode("latin1")}
    server = scope.get("server")
    return _Handshake(
        scope.get("scheme", ""),
        None if server is None else tuple(server),
        tuple(pair for pair in scope.get("headers", ()) if pair[0].lower() in names),
    )


def _settings() -> tuple[Hashable, ...]:
    return (
        settings.DEBUG,
        *(tuple(getattr(settings, name) or ()) for name in _LISTS),
        (
            settings.USE_X_FORWARDED_HOST,
            settings.USE_X_FORWARDED_PORT,
        ),
    )


# The pages of a site ask alike, and Django's request is a tenth of their whole way in.
@lru_cache(maxsize=256)
def _answer(
    handshake: _Handshake, required: bool, present: tuple[Hashable, ...]
) -> str:
    """Return why an origin is refused, or ``""``, with the ``present`` settings."""
    request = handshake.request()
    given = request.headers.get("Origin")
    if given is None:
        is_welcome = not required or "*" in settings.ALLOWED_HOSTS
        return "" if is_welcome else "it has no Origin, which every browser sends."
    origin = _parse(given)
    if origin is None:
        return f"its Origin {given!r:.200} is not valid."
    if not validate_host(origin[1], _allowed_hosts()):
        return f"the host of its Origin {given!r:.200} is not in ALLOWED_HOSTS."
    if any(_trusts(trusted, origin) for trusted in settings.CSRF_TRUSTED_ORIGINS):
        return ""
    try:
        own = f"{request.scheme}://{request.get_host()}"
    except DisallowedHost as error:
        return str(error)
    if origin == _parse(own):
        return ""
    return (
        f"its Origin is {given!r:.200}, but the request came to {own!r:.200}. If a "
        f"proxy changes scheme, host or port, let it pass them on, and set "
        f"SECURE_PROXY_SSL_HEADER or USE_X_FORWARDED_HOST. If the origin is "
        f"another site of yours, add it to CSRF_TRUSTED_ORIGINS."
    )


def _parse(origin: str) -> tuple[str, str, int | None] | None:
    """
    Return scheme, host and port, or ``None`` if it is not an origin.

    >>> _parse("https://Chat.example.com"), _parse("http://[::1]:8000")
    (('https', 'chat.example.com', 443), ('http', '[::1]', 8000))
    >>> _parse("http://[::1"), _parse("null"), _parse("http://a:b")
    (None, None, None)
    """
    try:
        parts = urlsplit(origin)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not parts.scheme or not host:
        return None
    host = f"[{host}]" if ":" in host else host
    return parts.scheme, host, port or _PORTS.get(parts.scheme)


def _trusts(trusted: str, origin: tuple[str, str, int | None]) -> bool:
    """Return whether an entry of ``CSRF_TRUSTED_ORIGINS`` matches the origin."""
    entry = _parse(trusted.replace("://*.", "://.", 1))
    if entry is None:
        return False
    scheme, host, port = entry
    return (scheme, port) == (origin[0], origin[2]) and is_same_domain(origin[1], host)


def _allowed_hosts() -> list[str]:
    """Return the hosts that Django allows."""
    if settings.DEBUG and not settings.ALLOWED_HOSTS:
        return [".localhost", "127.0.0.1", "[::1]"]
    return settings.ALLOWED_HOSTS
