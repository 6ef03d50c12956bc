"""``manage.py pubsub_server`` as a process, its clients, and subscribers of Redis."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import redis
import websockets.sync.client
from django.contrib.auth.models import User
from django.test import Client
from websockets.exceptions import ConnectionClosed

from tests.support.servers import PATIENCE, Project, Valkey, WebServer, free_port


class PubSubServer(WebServer):
    """The command, on a free port, over the project of the fixture."""

    def __init__(self, project: Project, *arguments: str) -> None:
        port = free_port()
        command = ["django", "pubsub_server", "--port", str(port), *arguments]
        super().__init__(project, command, port, {})
        self.settings = project.settings


class Socket:
    """A blocking client."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def send(self, **frame: Any) -> None:
        self.connection.send(json.dumps(frame))

    def next(self, timeout: float = PATIENCE) -> Any:
        return json.loads(self.connection.recv(timeout=timeout))

    def nothing(self) -> bool:
        """Return whether the server has nothing to say that it was asked before."""
        self.send(type="ping")
        return bool(self.next() == {"type": "pong"})

    def code(self, timeout: float = PATIENCE) -> int | None:
        """Return the close code, once everything has been read."""
        deadline = time.monotonic() + timeout
        try:
            while True:
                self.connection.recv(timeout=deadline - time.monotonic())
        except ConnectionClosed:
            code: int | None = self.connection.protocol.close_code
            return code


@contextmanager
def socket(
    server: WebServer, path: str = "/", *, session: str = "", **options: Any
) -> Iterator[Socket]:
    """Connect, with the session of a log-in if given."""
    headers = {"Cookie": f"sessionid={session}"} if session else {}
    options.setdefault("open_timeout", PATIENCE)
    with websockets.sync.client.connect(
        server.ws_url + path, additional_headers=headers, **options
    ) as connection:
        yield Socket(connection)


def refusal(server: WebServer, **options: Any) -> HTTPStatus:
    """Return the status with which a connection is refused."""
    try:
        with websockets.sync.client.connect(
            server.ws_url, open_timeout=PATIENCE, **options
        ):
            raise AssertionError("not refused")
    except websockets.InvalidStatus as error:
        return HTTPStatus(error.response.status_code)


def user(name: str, **fields: Any) -> User:
    return User.objects.create_user(name, password="secret", **fields)


def log_in(who: User) -> Client:
    """Return a browser of this user."""
    client = Client()
    client.force_login(who)
    return client


def session_of(client: Client) -> str:
    return client.cookies["sessionid"].value


class Subscriber:
    """Another service: what it hears on Redis channels."""

    def __init__(self, server: Valkey, *channels: str) -> None:
        self._client = server.client()
        self._pubsub = self._client.pubsub()
        self._pubsub.subscribe(*channels)
        for _ in channels:
            assert self._pubsub.get_message(timeout=PATIENCE)

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._pubsub.close()
        self._client.close()

    def next(self, timeout: float = PATIENCE) -> tuple[str, Any]:
        """Return the next channel, and what is said on it of a model."""
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if message := self._pubsub.get_message(timeout=1):
                kind, _, body = message["data"].partition(":")
                assert kind == "model"
                return message["channel"], json.loads(body)
        raise TimeoutError("nothing is published")

    def some(self, count: int) -> list[tuple[str, Any]]:
        return [self.next() for _ in range(count)]

    def nothing(self) -> bool:
        """Return whether nothing has come that was published before."""
        with redis.Redis(connection_pool=self._client.connection_pool) as client:
            client.publish(next(iter(self._pubsub.channels)), "model:null")
        return self.next()[1] is None
