"""
Clients against the transport: they do not read, flood, leave, or never really come.

Nothing stays of them, nobody else is harmed, and the server ends when it is told to.
"""

from __future__ import annotations

import json
import signal
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import override_settings

from tests.support.full import for_full_runs
from tests.support.hostile import (
    CLOSE,
    PING,
    Hostile,
    Hostiles,
    frame,
    standing,
    until_same,
)
from tests.support.servers import WebServer, wait_until
from tests.testapp.streams import Announcements, Endless
from turbo.delivery.broadcast import shut_down

pytestmark = pytest.mark.slow

CLIENTS = 40
NAMES = [f"{n}{'x' * 2_000}" for n in range(30)]
#: A frame whose answer is as long.
ECHO = frame(json.dumps({"type": "unsubscribe", "streams": NAMES}).encode())
#: What kernels hold of a connection that is not read from, with a wide margin.
KERNEL = 24 * 2**20
FAST = ("--ws", "turbo.server:WebSocketProtocol")
GRACE = ("--timeout-graceful-shutdown", "3")
Visit = Callable[..., Hostile]
APPLICATION = "tests.project.counted:application"


@pytest.fixture(
    params=[
        "daphne",
        "fast path",
        pytest.param("uvicorn", marks=for_full_runs),
        pytest.param("fast path, asyncio", marks=for_full_runs),
    ]
)
def server(
    request: pytest.FixtureRequest, valkey: Any, make_project: Callable[..., Any]
) -> Iterator[WebServer]:
    """A server of each kind, which says what it holds."""
    frames = {"CONNECTION_LIMITS": {"FRAMES": None}, "USER_LIMITS": {"FRAMES": None}}
    project = make_project("redis", TURBO=frames)
    with override_settings(CHANNEL_LAYERS=project.settings["CHANNEL_LAYERS"]):
        if request.param == "daphne":
            start = request.getfixturevalue("daphne")
            options: tuple[str, ...] = ("--websocket_connect_timeout", "120")
        else:
            start = request.getfixturevalue("uvicorn")
            options = GRACE if request.param == "uvicorn" else FAST
            options += ("--loop", "asyncio") if "asyncio" in request.param else ()
        server = start(project, *options, application=APPLICATION)
        server.kind = request.param
        yield server
        shut_down(5)


@pytest.fixture
def controlled(server: Any) -> WebServer:
    """A server whose protocol is ours."""
    if server.kind == "uvicorn":
        pytest.skip("what uvicorn does by itself is up to uvicorn")
    return server


@pytest.fixture
def visit() -> Iterator[Callable[..., Hostile]]:
    """Connect one client: ``visit(server, "/ws/")``; it leaves after the test."""
    clients: list[Hostile] = []

    def connect(server: WebServer, *arguments: Any, **options: Any) -> Hostile:
        clients.append(Hostile(server.port, *arguments, **options))
        return clients[-1]

    yield connect
    for client in clients:
        client.leave()


def ended(server: WebServer) -> bool:
    """Tell the server to end, as a deployment does; return whether it did."""
    assert server._popen is not None
    server._popen.send_signal(signal.SIGTERM)
    wait_until(lambda: not server.running, what="the server has ended")
    return True


def warm_up(server: WebServer) -> dict[str, int]:
    """Return what the server holds when it has served somebody before."""
    with Hostiles(2, lambda: Hostile(server.port)) as some:
        for client in some.clients:
            client.subscribe(Announcements().signed_stream_name)
            client.receive()
    wait_until(lambda: standing(server)["connections"] == 0)
    return standing(server)


def test_who_does_not_read_is_not_read_from(server: WebServer, visit: Visit) -> None:
    before = warm_up(server)
    client = visit(server)

    sent = client.flood(ECHO)

    assert sent < KERNEL
    client.leave()
    until_same(server, before)


def test_pings_wait_for_their_answers_to_be_read(
    controlled: WebServer, visit: Visit
) -> None:
    before = warm_up(controlled)
    client = visit(controlled)

    sent = client.flood(frame(b"p" * 125, PING))

    assert sent < KERNEL
    client.leave()
    until_same(controlled, before)


def test_frames_that_are_not_taken_are_not_read(
    controlled: WebServer, visit: Visit
) -> None:
    """The application is busy with the first of them."""
    before = warm_up(controlled)
    client = visit(controlled)
    client.subscribe(Endless().signed_stream_name)

    sent = client.flood(frame(b"x" * 900_000))

    assert sent < KERNEL
    client.leave()
    until_same(controlled, before)


def test_those_who_leave_with_full_buffers_are_gone(server: WebServer) -> None:
    before = warm_up(server)
    with Hostiles(CLIENTS, lambda: Hostile(server.port)) as clients:
        for client in clients.clients:
            client.subscribe(Announcements().signed_stream_name)
        clients.flood(ECHO)
        wait_until(lambda: standing(server)["blocked"] == CLIENTS)

        clients.leave()

        until_same(server, before)
    assert "Traceback" not in server.log()


def test_they_do_not_keep_the_server_from_ending(server: WebServer) -> None:
    with Hostiles(CLIENTS, lambda: Hostile(server.port)) as clients:
        clients.flood(ECHO)
        wait_until(lambda: standing(server)["blocked"] == CLIENTS)

        assert ended(server)


@pytest.mark.parametrize("rest", [b"", frame(b"", CLOSE)], ids=["silent", "polite"])
def test_who_leaves_while_a_permission_test_hangs_is_noticed(
    server: WebServer, rest: bytes
) -> None:
    before = warm_up(server)
    with Hostiles(CLIENTS, lambda: Hostile(server.port)) as clients:
        for client in clients.clients:
            client.subscribe(Endless().signed_stream_name)
            client.socket.sendall(rest)
        wait_until(lambda: standing(server)["connections"] == CLIENTS or bool(rest))

    until_same(server, before)


def test_that_is_noticed_behind_frames_that_nobody_takes(controlled: WebServer) -> None:
    before = warm_up(controlled)
    with Hostiles(CLIENTS, lambda: Hostile(controlled.port)) as clients:
        for client in clients.clients:
            client.subscribe(Endless().signed_stream_name)
            client.socket.sendall(100 * frame(b'{"type":"ping"}'))
        wait_until(lambda: standing(controlled)["connections"] == CLIENTS)

    until_same(controlled, before)


def test_half_sent_handshakes(server: WebServer) -> None:
    before = warm_up(server)
    half = lambda: Hostile(server.port, whole=False)  # noqa: E731
    with Hostiles(CLIENTS, half):
        wait_until(lambda: standing(server)["descriptors"] >= CLIENTS)
    until_same(server, before)

    with Hostiles(CLIENTS, half):
        assert ended(server)


def test_daphne_does_not_wait_for_the_other_half(
    daphne: Callable[..., Any], make_project: Callable[..., Any]
) -> None:
    server = daphne(make_project("redis"), "--websocket_connect_timeout", "1")

    with Hostiles(CLIENTS, lambda: Hostile(server.port, whole=False)) as clients:
        wait_until(lambda: all(client.is_closed() for client in clients.clients))


def test_a_close_without_a_code_ends_what_runs(server: WebServer, visit: Visit) -> None:
    """As a browser's ``close()`` sends it."""
    before = warm_up(server)
    client = visit(server, "/working/")
    client.send(action="work", request_id=1)
    wait_until(lambda: standing(server)["running"] == 1)

    client.socket.sendall(frame(b"", CLOSE))

    until_same(server, before)
    client.leave()


def test_what_stands_between_sees_every_frame(server: WebServer, visit: Visit) -> None:
    before = standing(server)
    client = visit(server, "/seen/")
    for _ in range(10):
        client.send(type="ping")
    answers = [client.receive() for _ in range(10)]

    after = standing(server)
    assert answers == [b'{"type":"pong"}'] * 10
    assert after["seen"] - before["seen"] == 10
    assert after["direct"] == before["direct"]


@pytest.mark.parametrize("path", ["/ws/", "/behind/"])
def test_nothing_stands_between_of_ourselves(
    server: WebServer, path: str, visit: Visit
) -> None:
    """Nor of Channels: ``get_application()`` logs the user in for other consumers."""
    before = standing(server)
    client = visit(server, path)
    for _ in range(10):
        client.send(type="ping")
    answers = [client.receive() for _ in range(10)]

    assert answers == [b'{"type":"pong"}'] * 10
    assert standing(server)["direct"] - before["direct"] == 10


def test_a_frame_is_measured_before_it_is_inflated(
    server: Any, valkey: Any, visit: Visit
) -> None:
    """Sixteen kilobytes that would be sixteen megabytes."""
    if server.kind in ("daphne", "uvicorn"):
        pytest.skip("Daphne inflates nothing, and uvicorn has an option of its own")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -12)
    bomb = deflate.compress(b"x" * 2**24) + deflate.flush(zlib.Z_SYNC_FLUSH)
    client = visit(server, headers="Sec-WebSocket-Extensions: permessage-deflate\r\n")
    client.socket.sendall(frame(bomb[:-4], flags=0xC0))

    assert client.receive()[:2] == (1009).to_bytes(2, "big")


def test_a_frame_that_is_far_too_large(controlled: WebServer, visit: Visit) -> None:
    client = visit(controlled)
    client.socket.sendall(frame(b"x" * 100_000))
    assert b"too_large" in client.receive()

    client.flood(frame(b"x" * 300_000), limit=300_000)

    wait_until(client.is_closed)
