"""From which pages a WebSocket is taken: those of the site, as Django sees it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import websockets
from channels.testing import WebsocketCommunicator
from django.test import override_settings

from tests.support.servers import Project, WebServer
from turbo.connections.origin import OriginValidator, _answer
from turbo.runtime.log_once import _last


async def accept(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})


async def connects(
    origin: str | None,
    host: str = "chat.example.com",
    *,
    scheme: str | None = None,
    required: bool = True,
    **headers: str,
) -> bool:
    given = {"host": host, **headers} | ({} if origin is None else {"origin": origin})
    pairs = [
        (name.replace("_", "-").encode(), value.encode("latin1"))
        for name, value in given.items()
    ]
    application = OriginValidator(accept, required=required)
    communicator = WebsocketCommunicator(application, "/ws/", headers=pairs)
    if scheme is not None:
        communicator.scope["scheme"] = scheme
    connected, _ = await communicator.connect()
    await communicator.wait()
    return connected


SITE = "https://chat.example.com"


@pytest.fixture(autouse=True)
def _site() -> Any:
    with override_settings(ALLOWED_HOSTS=["chat.example.com", "[::1]"]):
        yield


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        (SITE, "chat.example.com", "wss"),
        (SITE, "Chat.Example.COM", "wss"),
        (SITE, "chat.example.com:443", "wss"),
        (f"{SITE}:8443", "chat.example.com:8443", "wss"),
        ("http://chat.example.com", "chat.example.com", "ws"),
        ("http://chat.example.com", "chat.example.com", None),
        ("http://[::1]:8000", "[::1]:8000", "ws"),
    ],
)
async def test_the_sites_own_pages_connect(
    origin: str, host: str, scheme: str | None
) -> None:
    assert await connects(origin, host, scheme=scheme)


@pytest.mark.parametrize(
    "origin",
    [
        "http://chat.example.com",
        f"{SITE}:8443",
        "https://evil.example",
        "https://chat.example.com.evil.example",
        "https://evil.example/chat.example.com",
        "https://chat.example.com@evil.example",
        "https://chat.example.com:evil",
        "http://[::1",
        "https://",
        "//chat.example.com",
        "null",
        "",
        "\xff",
        "file://",
        f"{SITE}, https://evil.example",
    ],
)
async def test_others_do_not(origin: str) -> None:
    assert not await connects(origin, scheme="wss")


async def test_no_origin_is_for_programs_where_they_are_expected() -> None:
    assert not await connects(None)
    assert await connects(None, required=False)
    with override_settings(ALLOWED_HOSTS=["*"]):
        assert await connects(None)
        assert not await connects("https://evil.example")


async def test_where_all_hosts_are_allowed_any_site_may_lead_here() -> None:
    """That is what ``check --deploy`` warns of."""
    with override_settings(ALLOWED_HOSTS=["*"]):
        assert await connects("https://evil.example", "evil.example", scheme="wss")


async def test_a_host_that_is_not_allowed_is_not_the_sites_own() -> None:
    assert not await connects("https://evil.example", "evil.example", scheme="wss")
    assert not await connects(SITE, "evil.example", scheme="wss")


async def test_an_origin_is_trusted_if_its_host_is_allowed_too() -> None:
    trusted = ["https://other.example", "https://*.chat.example.com", "http://[::1"]
    with override_settings(
        ALLOWED_HOSTS=["chat.example.com", ".chat.example.com"],
        CSRF_TRUSTED_ORIGINS=trusted,
    ):
        assert await connects("https://eu.chat.example.com", scheme="wss")
        assert not await connects("http://eu.chat.example.com", scheme="wss")
        assert not await connects("https://eu.chat.example.com:444", scheme="wss")
        assert not await connects("https://other.example", scheme="wss")
        assert not await connects("https://evil.example", scheme="wss")


async def test_behind_a_proxy_what_the_browser_sees_counts() -> None:
    """Where Django is told which headers to believe, and only there."""
    tls: Any = {"x_forwarded_proto": "https"}
    assert not await connects(SITE, **tls)
    with override_settings(SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")):
        assert await connects(SITE, **tls)
        assert not await connects("http://chat.example.com", **tls)

    behind: Any = {"x_forwarded_host": "chat.example.com", "scheme": "wss"}
    assert not await connects(SITE, "10.0.0.1:8000", **behind)
    with override_settings(USE_X_FORWARDED_HOST=True):
        assert await connects(SITE, "10.0.0.1:8000", **behind)


async def test_an_answer_lasts_no_longer_than_the_settings() -> None:
    assert await connects(SITE, scheme="wss")

    with override_settings(ALLOWED_HOSTS=["other.example.com"]):
        assert not await connects(SITE, scheme="wss")
    proxied = {"x_forwarded_proto": "https"}
    assert not await connects(SITE, **proxied)
    with override_settings(SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")):
        assert await connects(SITE, **proxied)


async def test_a_server_may_write_the_names_of_headers_as_the_client_did() -> None:
    """Otherwise a page of another site would look like a program without an origin."""
    headers = [(b"Host", b"chat.example.com"), (b"Origin", b"https://evil.example.com")]
    application = OriginValidator(accept, required=False)

    connected, _ = await WebsocketCommunicator(application, "/ws/", headers).connect()

    assert not connected


async def test_equal_handshakes_are_answered_once_and_large_ones_are_not_kept() -> None:
    _answer.cache_clear()
    for _ in range(3):
        await connects(SITE, scheme="wss", cookie="a" * 2_000)
        await connects("https://" + "a" * 2_000)

    assert (_answer.cache_info().misses, _answer.cache_info().currsize) == (1, 1)


async def test_while_debugging_the_own_machine_is_allowed() -> None:
    with override_settings(ALLOWED_HOSTS=[], DEBUG=True):
        assert await connects("http://localhost:8000", "localhost:8000")
        assert not await connects("http://evil.example", "evil.example")


async def test_the_log_says_once_which_setting_helps(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _last.clear()
    with caplog.at_level(logging.WARNING, "turbo.consumers"):
        for _ in range(3):
            assert not await connects(SITE)

    [text] = [record.getMessage() for record in caplog.records]
    assert SITE in text
    for setting in (
        "SECURE_PROXY_SSL_HEADER",
        "USE_X_FORWARDED_HOST",
        "CSRF_TRUSTED_ORIGINS",
    ):
        assert setting in text


async def status(server: WebServer, origin: str, **headers: str) -> int:
    given: Any = origin
    try:
        async with websockets.connect(
            f"{server.ws_url}/ws/", origin=given, additional_headers=headers
        ):
            return 101
    except websockets.InvalidStatus as error:
        return error.response.status_code


@pytest.mark.parametrize("server_kind", ["daphne", "uvicorn", "fast"])
async def test_a_real_server_says_403(
    request: pytest.FixtureRequest,
    make_project: Callable[..., Project],
    server_kind: str,
) -> None:
    project = make_project()
    if server_kind == "daphne":
        server = request.getfixturevalue("daphne")(project, "--proxy-headers")
    else:
        fast = ["--ws", "turbo.server:WebSocketProtocol"]
        arguments = fast if server_kind == "fast" else []
        server = request.getfixturevalue("uvicorn")(project, *arguments)
    tls = {"X-Forwarded-For": "10.0.0.1", "X-Forwarded-Proto": "https"}
    secure = server.url.replace("http", "https")

    assert await status(server, server.url) == 101
    assert await status(server, secure, **tls) == 101
    assert await status(server, secure) == 403
    assert await status(server, server.url, **tls) == 403
    assert await status(server, "http://127.0.0.1") == 403
    assert await status(server, "http://[::1") in (400, 403)  # Daphne's own is 400
    assert "Traceback" not in server.log()
