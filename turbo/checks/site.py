"""A check that does over the network what a browser does: page, address, WebSocket."""

from __future__ import annotations

import json
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from http.client import HTTPException
from typing import BinaryIO, cast
from urllib.parse import SplitResult, urljoin, urlsplit
from urllib.request import urlopen

from turbo.checks.finding import Finding

__all__ = ["probe_site"]

#: Seconds that the site may take for each answer.
PATIENCE = 5.0

_META = re.compile(r'<meta name="turbo-channels-url" content="(.*?)">')
_PING = json.dumps({"type": "ping"}).encode()
_PONG = json.dumps({"type": "pong"}, separators=(",", ":")).encode()


def probe_site(url: str) -> Finding:
    """Fetch a page, and open the WebSocket that its client would open."""
    try:
        with urlopen(url, timeout=PATIENCE) as response:
            page, html = response.url, response.read().decode(errors="replace")
    except (HTTPException, OSError, ValueError) as error:
        return Finding.failure(f"{url} cannot be fetched: {error}", "Check the URL.")
    found = _META.search(html)
    if found is None:
        return Finding.failure(
            f"The page at {page} does not load the client.",
            'Add {% include "turbo/head.html" %} to its <head>, or name a page that '
            "needs no log-in.",
        )
    address = urlsplit(urljoin(page, unescape(found[1])))
    schemes = {"http": "ws", "https": "wss"}
    address = address._replace(scheme=schemes.get(address.scheme, address.scheme))
    return _probe_socket(address, origin=urlsplit(page))


def _probe_socket(address: SplitResult, origin: SplitResult) -> Finding:
    shown = address.geturl()
    try:
        with _connected(address) as stream:
            status = _shake_hands(stream, address, origin)
            if status == 101 and _answers(stream):
                return Finding.ok(f"{shown} serves the WebSocket of the streams.")
    except (OSError, ValueError) as error:
        return Finding.failure(
            f"The page opens {shown}, which does not answer: {error}",
            "Check that the proxy passes this path to the server.",
        )
    if status == 403:
        return Finding.failure(
            f"The page opens {shown}, which refuses the page's origin (403).",
            "The log of the server, turbo.consumers, says which setting allows it.",
        )
    return Finding.failure(
        f"The page opens {shown}, which is not the WebSocket of the streams (status "
        f"{status}).",
        "Check that the proxy passes this path, with the headers Upgrade and "
        "Connection, to a server that runs ASGI_APPLICATION.",
    )


@contextmanager
def _connected(address: SplitResult) -> Iterator[BinaryIO]:
    is_secure = address.scheme == "wss"
    host = address.hostname or ""
    place = host, address.port or (443 if is_secure else 80)
    with socket.create_connection(place, timeout=PATIENCE) as plain:
        context = ssl.create_default_context()
        secured = (
            context.wrap_socket(plain, server_hostname=host) if is_secure else plain
        )
        with secured.makefile("rwb") as stream:
            yield cast(BinaryIO, stream)


def _shake_hands(stream: BinaryIO, address: SplitResult, origin: SplitResult) -> int:
    """Ask for a WebSocket, and return the status of the answer."""
    target = (address.path or "/") + (f"?{address.query}" if address.query else "")
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {address.netloc}",
        f"Origin: {origin.scheme}://{origin.netloc}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {b64encode(bytes(16)).decode()}",
    ]
    stream.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode("ascii"))
    stream.flush()
    status = stream.readline().split()
    while stream.readline().strip():
        pass
    return int(status[1]) if len(status) > 1 else 0


def _answers(stream: BinaryIO) -> bool:
    """Send a ping of the protocol, and return whether its answer comes."""
    # A text frame of a client is masked; this mask changes nothing.
    stream.write(bytes([0x81, 0x80 | len(_PING)]) + bytes(4) + _PING)
    stream.flush()
    return stream.read(2 + len(_PONG)) == bytes([0x81, len(_PONG)]) + _PONG
