"""Who may connect to ``pubsub_server``, what it answers, and how connections end."""

from __future__ import annotations

import socket as sockets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import override_settings

import turbo
from tests.pubsub.serving import (
    PubSubServer,
    Socket,
    log_in,
    refusal,
    session_of,
    socket,
    user,
)
from tests.pubsub.shop.models import Topping
from tests.support.servers import PATIENCE, Project
from turbo.pubsub import make_token

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


def authenticate(client: Socket, token: str) -> Any:
    client.send(type="authenticate", token=token)
    return client.next()


def test_a_token_in_the_first_message(server: PubSubServer) -> None:
    """What the bearer may see is told from then on."""
    token = make_token(user("cook", is_staff=True))
    with socket(server) as client:
        assert client.next() == {"hello": ""}
        assert authenticate(client, token) == {"type": "authenticated"}
        secret = Topping.objects.create(name="MSG", secret=True)

        assert client.next()["pk"] == secret.pk


@pytest.mark.parametrize("kind", ["forged", "old", "inactive", "password"])
def test_a_token_that_is_no_good(server: PubSubServer, kind: str) -> None:
    """The client is told so, and closed; it need not come back."""
    cook = user("cook")
    token = make_token(cook)
    if kind == "forged":
        token += "x"
    elif kind == "old":
        token = token.replace(":", ":0", 1)
    elif kind == "inactive":
        User.objects.update(is_active=False)
    else:
        cook.set_password("changed")
        cook.save()
    with socket(server) as client:
        client.next()

        assert authenticate(client, token) == {"type": "denied", "reason": "token"}
        assert client.code() == 4403


def test_a_token_in_the_url_where_that_is_switched_on(server: PubSubServer) -> None:
    token = make_token(user("cook"))
    with socket(server, f"/?token={token}") as client:
        assert client.next() == {"type": "authenticated"}
        assert client.next() == {"hello": "cook"}
    with socket(server, "/?token=forged") as client:
        assert client.next() == {"type": "denied", "reason": "token"}
        assert client.code() == 4403


def test_access_for_staff_only(start: Callable[..., PubSubServer]) -> None:
    """By session or by token, in time, and not in the URL unless switched on."""
    server, hasty = (
        start(ACCESS="staff", TOKEN_TIMEOUT=seconds) for seconds in (600, 0.1)
    )
    cook, guest = user("cook", is_staff=True), user("guest")
    token = make_token(cook)
    with socket(server, session=session_of(log_in(cook))) as client:
        topping = Topping.objects.create(name="Gouda")
        assert client.next()["pk"] == topping.pk
    with socket(server, session=session_of(log_in(guest))) as client:
        Topping.objects.create(name="unheard")
        turbo.flush()
        assert client.nothing()
        assert authenticate(client, token) == {"type": "authenticated"}
        topping = Topping.objects.create(name="Gouda")
        assert client.next()["pk"] == topping.pk
    with socket(server) as client:
        answer = authenticate(client, make_token(guest))
        assert answer == {"type": "denied", "reason": "forbidden"}
        assert client.code() == 4403
    with socket(hasty, f"/?token={token}") as client:
        assert client.next() == {"type": "denied", "reason": "timeout"}
        assert client.code() == 4403


def test_log_out_and_revocation_end_connections(server: PubSubServer) -> None:
    cook = user("cook")
    browser = log_in(cook)
    with socket(server, session=session_of(browser)) as client:
        client.next()
        browser.logout()
        assert client.next() == {"type": "denied", "reason": "revoked"}
        assert client.code() == 4403
    with socket(server) as client:
        client.next()
        authenticate(client, make_token(cook))
        turbo.revoke(user=cook)
        assert client.next() == {"type": "denied", "reason": "revoked"}
        assert client.code() == 4403


def test_a_saved_user_is_read_anew(server: PubSubServer) -> None:
    """New rights count when the change is heard; a deactivated user is shown out."""
    cook = user("cook")
    with socket(server, session=session_of(log_in(cook))) as client:
        client.next()
        cook.is_staff = True
        cook.save()
        for number in range(3_000):
            Topping.objects.create(name="MSG", secret=True)
            public = Topping.objects.create(name=str(number))
            if client.next()["pk"] != public.pk:
                break
            time.sleep(0.02)
        else:
            pytest.fail("not read anew")
        cook.is_active = False
        cook.save()

        assert client.code() == 4403


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("{", "malformed"),
        ("[]", "not_object"),
        ('{"type":"sing"}', "unknown_type"),
        ('{"type":"authenticate"}', "invalid"),
        ('{"type":"authenticate","token":5}', "invalid"),
        ('{"type":"authenticate","token":"' + "x" * 9_000 + '"}', "invalid"),
        ("x" * 70_000, "too_large"),
        (b"bytes", "binary"),
        ("[" * 60_000, "malformed"),
    ],
)
def test_bad_input_gets_an_answer(
    server: PubSubServer, frame: str | bytes, reason: str
) -> None:
    """And nothing else happens: the next change is told."""
    with socket(server) as client:
        client.next()
        client.connection.send(frame)
        answer = client.next()
        topping = Topping.objects.create(name="Gouda")

        assert (answer["type"], answer["reason"]) == ("error", reason)
        assert client.next()["pk"] == topping.pk


def test_a_page_of_another_site_is_refused(server: PubSubServer) -> None:
    """Its visitor's cookie would come along; a program names no origin."""
    for ours in (server.url, "http://localhost:8000"):
        with socket(server, origin=ours) as client:
            assert client.next() == {"hello": ""}

    for other in ("http://localhost:8001", "http://evil.example"):
        assert refusal(server, origin=other) == 403
    assert refusal(server, origin="http://[::1") in (400, 403)  # Daphne's own is 400


def test_http_is_told_to_upgrade(server: PubSubServer) -> None:
    response = httpx.get(server.url, timeout=PATIENCE)

    assert (response.status_code, response.text) == (426, "Connect with a WebSocket.\n")


def test_a_client_that_does_not_read_is_closed(server: PubSubServer) -> None:
    """When more than QUEUE_BYTES wait for it; the others hear everything."""
    said = "A client that does not read is closed"
    before = server.log().count(said)
    with socket(server) as client, lazy(server) as idle:
        client.next()
        for number in range(400):
            name = "x" * 100_000 + str(number)
            Topping.objects.create(name=name)
            assert client.next()["data"]["name"] == name
            if server.log().count(said) > before:
                break

        # The server does not wait for long: who reads too late finds a reset.
        assert tail(idle) in (b"\x88\x02" + (4008).to_bytes(2, "big"), None)
        assert server.log().count(said) == before + 1
        assert client.nothing()


@contextmanager
def lazy(server: PubSubServer) -> Iterator[sockets.socket]:
    """A client with a small buffer, which has read nothing but the handshake."""
    connection = sockets.socket()
    connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4_096)
    connection.settimeout(PATIENCE)
    with connection:
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(
            b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert connection.recv(12) == b"HTTP/1.1 101"
        yield connection


def tail(connection: sockets.socket) -> bytes | None:
    """
    Read all that is there; return the last frame, an empty close frame's size.

    ``None`` says that the server has cut the connection.
    """
    last = b""
    with suppress(ConnectionResetError):
        while data := connection.recv(65_536):
            last = (last + data)[-4:]
            if last.startswith(b"\x88\x02"):
                return last
    return None


def test_a_port_that_is_taken(server: PubSubServer) -> None:
    """The command fails, and says why."""
    project = Project(server.log_path.parent, server.settings)

    with pytest.raises(RuntimeError, match=f"Cannot listen on 127.0.0.1:{server.port}"):
        project.manage("pubsub_server", str(server.port))


def test_without_redis_there_is_nothing_to_serve() -> None:
    with override_settings(TURBO={}), pytest.raises(CommandError, match="No Redis"):
        call_command("pubsub_server", skip_checks=True)


def test_a_server_that_ends_says_so(start: Callable[..., PubSubServer]) -> None:
    """Where Daphne is still in time to send it; the clients come back in any case."""
    server = start()
    with socket(server) as client:
        assert client.nothing()
        server.stop()

        assert client.code() in {1012, 1006}
