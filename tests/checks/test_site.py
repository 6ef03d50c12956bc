"""The doctor does what a browser does, and says where it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from threading import Thread
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.support.servers import Project, WebServer, free_port
from turbo.checks.finding import Finding
from turbo.checks.site import probe_site

META = '<meta name="turbo-channels-url" content="{}">'


@contextmanager
def site(html: str, answer: bytes = b"") -> Iterator[str]:
    """Serve a page, if any, and answer like this whoever asks for a WebSocket."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "Upgrade" in self.headers or not html:
                self.wfile.write(answer)
                return
            self.send_response(200)
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def upgraded(frame: bytes) -> bytes:
    return b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n" + frame


PONG = b'\x81\x0f{"type":"pong"}'


@pytest.mark.parametrize(
    ("content", "path"),
    [("/ws/", "/ws/"), ("/app/ws/?a=1&amp;b=2", "/app/ws/?a=1&b=2")],
)
def test_the_socket_of_a_page_is_opened(content: str, path: str) -> None:
    with site(META.format(content), upgraded(PONG)) as host:
        finding = probe_site(f"http://{host}/rooms/1/")

    assert finding == Finding.ok(
        f"ws://{host}{path} serves the WebSocket of the streams."
    )


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "refuses the page's origin (403)."),
        (
            b"HTTP/1.1 404 Not Found\r\n\r\n",
            "is not the WebSocket of the streams (status 404).",
        ),
        (
            upgraded(b"\x81\x05Hello"),
            "is not the WebSocket of the streams (status 101).",
        ),
        (b"", "is not the WebSocket of the streams (status 0)."),
    ],
)
def test_a_socket_that_is_not_that_of_the_streams(answer: bytes, words: str) -> None:
    with site(META.format("/ws/"), answer) as host:
        finding = probe_site(f"http://{host}/")

    assert finding.decision == "failure"
    assert finding.text == f"The page opens ws://{host}/ws/, which {words}"


def test_a_page_without_the_client() -> None:
    with site("<p>Hello</p>") as host:
        finding = probe_site(f"http://{host}/")

    assert finding.text == f"The page at http://{host}/ does not load the client."


def test_a_socket_that_nobody_serves() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    with site(META.format(f"ws://{nowhere}/ws/")) as host:
        finding = probe_site(f"http://{host}/")

    assert finding.text.startswith(
        f"The page opens ws://{nowhere}/ws/, which does not answer: "
    )


def test_a_page_that_nobody_serves() -> None:
    url = f"http://127.0.0.1:{free_port()}/"

    assert probe_site(url).text.startswith(f"{url} cannot be fetched: ")
    with pytest.raises(CommandError, match="1 of "):
        call_command("turbo_doctor", url, stdout=StringIO())


def test_a_server_that_speaks_no_http() -> None:
    with site("", b"-ERR unknown command\r\n") as host:
        finding = probe_site(f"http://{host}/")

    assert finding.text.startswith(f"http://{host}/ cannot be fetched: ")


def test_an_address_that_is_none() -> None:
    finding = probe_site("http://exam ple.com/")

    assert finding.text.startswith("http://exam ple.com/ cannot be fetched: ")


def test_a_live_site(
    make_project: Callable[..., Project], daphne: Callable[..., WebServer]
) -> None:
    server = daphne(make_project())

    finding = probe_site(f"{server.url}/rooms/1/")

    assert finding == Finding.ok(
        f"{server.ws_url}/ws/ serves the WebSocket of the streams."
    )
