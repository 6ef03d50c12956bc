"""
What open event streams hold on to: no thread and no database connection each.

Django gives each request a thread of its own until its response has ended, and an
event stream's response does not end for hours.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any
from urllib.parse import quote

import httpx
import psutil
import psycopg
import pytest

from tests.support.servers import PATIENCE, Postgres, Project, WebServer, wait_until
from turbo.delivery.names import sign

pytestmark = pytest.mark.slow

STREAMS = 60
#: Threads that a process may start meanwhile for what is not counted here: looking up
#: addresses, and the one thread for all questions to the database.
FEW = 10

HOLD = "tests.project.views.hold"


def middleware(*more: str) -> list[str]:
    from tests import settings

    return [*settings.MIDDLEWARE, *more]


def threads(server: WebServer) -> int:
    return psutil.Process(server.pid).num_threads()


def subscriptions(server: WebServer) -> int:
    counters = httpx.get(f"{server.url}/counters/", timeout=PATIENCE).json()
    return int(counters["subscribers"])


def connections(postgres: Postgres, project: Project) -> int:
    """Return how many connections the database has."""
    name = project.settings["DATABASES"]["default"]["NAME"]
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    with psycopg.connect(postgres.dsn()) as connection:
        [number] = connection.execute(count, [name]).fetchone() or [0]
    return int(number)


#: The Cellar, which few may see; ann may.
SIGNED = quote(sign("testapp:RoomStream:2"))


async def falls_to(most: int, read: Callable[[], int]) -> None:
    """Return when a number has become small; if it does not, say what it is."""
    with suppress(TimeoutError):
        await asyncio.to_thread(wait_until, lambda: read() <= most)
    assert read() <= most


@asynccontextmanager
async def streams(
    http: httpx.AsyncClient, path: str, count: int
) -> AsyncIterator[None]:
    """Hold so many streams open, each of which has begun."""
    held: list[Any] = []
    async with AsyncExitStack() as stack:
        for _ in range(count):
            response = await stack.enter_async_context(http.stream("GET", path))
            assert response.status_code == 200, await response.aread()
            lines = response.aiter_lines()
            assert await anext(lines) == "retry: 1500"
            held.append(lines)  # one that is let go closes the connection
        yield


@pytest.mark.parametrize("application", ["asgi", "plain"])
@pytest.mark.parametrize("server_kind", ["daphne", "uvicorn"])
async def test_open_streams_hold_no_thread_and_no_connection(
    request: pytest.FixtureRequest,
    make_project: Callable[..., Project],
    postgres: Postgres,
    server_kind: str,
    application: str,
) -> None:
    project = make_project("redis", database="postgres", MIDDLEWARE=middleware(HOLD))
    start = request.getfixturevalue(server_kind)
    server = start(project, application=f"tests.project.{application}:application")
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=server.url, timeout=PATIENCE, limits=limits
    ) as http:
        await http.get("/login/ann/")
        path = f"/turbo/sse/?stream={SIGNED}"
        async with streams(http, path, 1):
            before = threads(server)
            async with streams(http, path, STREAMS):
                await falls_to(before + FEW, lambda: threads(server))
                await falls_to(FEW, lambda: connections(postgres, project))
                assert subscriptions(server) == STREAMS + 2  # and the control stream

                said = await http.get("/rooms/2/say/?text=hello")
                assert said.status_code == 200
        await falls_to(0, lambda: subscriptions(server))


@pytest.mark.parametrize("server_kind", ["daphne", "uvicorn"])
async def test_who_leaves_before_the_stream_begins_is_forgotten(
    request: pytest.FixtureRequest,
    make_project: Callable[..., Project],
    server_kind: str,
) -> None:
    """While a middleware that is not async still works on the response."""
    project = make_project("redis", MIDDLEWARE=middleware(HOLD))
    server = request.getfixturevalue(server_kind)(project)
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
        await http.get("/login/ann/")
        path = f"/turbo/sse/?hold&stream={SIGNED}"
        cookie = f"sessionid={http.cookies['sessionid']}"
        lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", f"Cookie: {cookie}", "", ""]
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall("\r\n".join(lines).encode())
            await asyncio.to_thread(wait_until, lambda: subscriptions(server) == 2)
        await http.get("/let-go/")

        await falls_to(0, lambda: subscriptions(server))


async def test_requests_that_are_transactions_do_not_hinder_streams(
    make_project: Callable[..., Project], uvicorn: Callable[..., WebServer]
) -> None:
    """Django refuses views that are coroutines there, unless they opt out."""
    project = make_project("redis")
    project.settings["DATABASES"]["default"]["ATOMIC_REQUESTS"] = True
    server = uvicorn(project)
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as http:
        signed = quote(sign("testapp:Announcements"))
        async with streams(http, f"/turbo/sse/?stream={signed}", 1):
            assert subscriptions(server) == 2


async def test_no_other_site_may_read_a_stream(
    make_project: Callable[..., Project], daphne: Callable[..., Any]
) -> None:
    """Browsers keep a response to themselves that does not name the asking site."""
    server = daphne(make_project("redis"))
    headers = {"Origin": "https://evil.example"}
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as http,
        http.stream(
            "GET", f"/turbo/sse/?stream={ANNOUNCED}", headers=headers
        ) as answer,
    ):
        allowed = [name for name in answer.headers if name.startswith("access-control")]

    assert answer.status_code == 200
    assert allowed == []


ANNOUNCED = quote(sign("testapp:Announcements"))
