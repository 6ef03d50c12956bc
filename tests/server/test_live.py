"""``manage.py turbo_live`` beside a site on WSGI: sockets, event streams, its end."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from channels.testing import HttpCommunicator
from django.core.asgi import get_asgi_application
from django.core.management import CommandError, call_command
from django.test import override_settings

from tests.connections.test_sse import events
from tests.support.clients import LivePage, connect
from tests.support.full import for_full_runs
from tests.support.servers import (
    PATIENCE,
    ROOT,
    Project,
    WebServer,
    free_port,
    wait_until,
)
from tests.testapp.streams import RoomStream
from turbo.exceptions import ConfigurationError
from turbo.server import running
from turbo.server.live import LiveApplication, project_application
from turbo.server.running import Address, listening

KINDS = ["daphne", "uvicorn"]


class TurboLive(WebServer):
    """The command, on a port of its own."""

    def __init__(self, project: Project, kind: str, *options: str, port: int) -> None:
        command = ["django", "turbo_live", "--server", kind, "--port", str(port)]
        super().__init__(project, [*command, *options], port, {})


class Gunicorn(WebServer):
    """The site, on WSGI."""

    def __init__(self, project: Project, port: int) -> None:
        command = ["gunicorn", "--workers", "2", "--bind", f"127.0.0.1:{port}"]
        application = "tests.project.wsgi:application"
        path = {"PYTHONPATH": str(ROOT)}
        super().__init__(project, [*command, application], port, path)


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    return make_project("redis")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def start() -> Iterator[Callable[[WebServer], Any]]:
    """Start a server, and kill it after the test."""
    started: list[WebServer] = []

    def start_one(server: WebServer) -> WebServer:
        started.append(server)
        server.start()
        return server

    yield start_one
    for server in started:
        server.kill()


@pytest.fixture
async def live(
    project: Project, kind: str, start: Callable[[WebServer], TurboLive]
) -> AsyncIterator[TurboLive]:
    server = TurboLive(project, kind, port=free_port())
    yield await asyncio.to_thread(start, server)
    await asyncio.to_thread(server.kill)


def signed() -> str:
    return str(RoomStream(1).signed_stream_name)


@pytest.mark.slow
async def test_what_the_site_saves_arrives_over_the_socket_and_as_events(
    make_project: Callable[..., Project], kind: str, start: Callable[[WebServer], Any]
) -> None:
    """The site, which is on another port, is among the trusted origins."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    project = make_project("redis", CSRF_TRUSTED_ORIGINS=[origin])
    site = await asyncio.to_thread(start, Gunicorn(project, port))
    live = await asyncio.to_thread(start, TurboLive(project, kind, port=free_port()))

    async with (
        LivePage(live.ws_url, signed(), origin=origin) as page,
        events(live.url, signed()) as stream,
        httpx.AsyncClient(base_url=site.url, timeout=PATIENCE) as http,
    ):
        await http.get("/rooms/1/say/", params={"text": "from WSGI"})
        await page.until(lambda: bool(page.data))
        event = await stream.data()

    assert "from WSGI" in page.data[0]
    assert event == page.data[0]
    assert page.gaps == 0


SIGN = """
import json
from django.contrib.auth.models import User
from tests.testapp.streams import Cafe, Lounge
ann = User.objects.get(username="ann")
print(json.dumps([[s.sign(ann), s.sign()] for s in (Lounge(1), Cafe(1))]))
"""


@for_full_runs
@pytest.mark.slow
async def test_the_site_knows_who_is_present_and_pages_whisper(
    make_project: Callable[..., Project], kind: str, start: Callable[[WebServer], Any]
) -> None:
    """The pages come from the site, which has no sockets; here the hooks are called."""
    port = free_port()
    origin = f"http://127.0.0.1:{port}"
    project = make_project(
        "redis", CSRF_TRUSTED_ORIGINS=[origin], TURBO={"PRESENCE_GRACE": 0.2}
    )
    said = await asyncio.to_thread(project.shell, SIGN)
    (lounge, all_lounge), (cafe, all_cafe) = json.loads(said.splitlines()[-1])
    site = await asyncio.to_thread(start, Gunicorn(project, port))
    live = await asyncio.to_thread(start, TurboLive(project, kind, port=free_port()))

    async with (
        httpx.AsyncClient(base_url=site.url, timeout=PATIENCE) as http,
        LivePage(live.ws_url, all_lounge, all_cafe, origin=origin) as other,
    ):
        await http.get("/login/ann/")
        cookie = {"Cookie": f"sessionid={http.cookies['sessionid']}"}
        page = LivePage(
            live.ws_url, lounge, cafe, origin=origin, additional_headers=cookie
        )
        async with page:
            await other.until(lambda: len(other.data) == 1)
            with_ann = (await http.get("/lounge/websocket/")).text
            whisper = {"type": "whisper", "name": cafe, "whisper": "typing", "data": 1}
            await page._socket.send(json.dumps(whisper))
            await other.until(lambda: bool(other.unnumbered))
        await other.until(lambda: len(other.data) == 2)
        without_ann = (await http.get("/lounge/websocket/")).text

    joined, left = other.data
    element = joined.partition("<template>")[2].partition("</template>")[0]
    assert ">ann</li>" in element
    assert element in with_ann
    assert 'action="remove"' in left
    assert element not in without_ann
    assert 'action="whisper"' in other.unnumbered[0]
    assert page.unnumbered == []


@pytest.mark.slow
async def test_there_are_no_pages(live: TurboLive) -> None:
    async with httpx.AsyncClient(base_url=live.url, timeout=PATIENCE) as http:
        answers = {
            path: await http.get(path)
            for path in ("/health/", "/", "/rooms/1/", "/turbo/sse/", "/ws/")
        }

    assert {path: answer.status_code for path, answer in answers.items()} == {
        "/health/": 200,
        "/": 404,
        "/rooms/1/": 404,
        "/turbo/sse/": 403,  # there is no name
        "/ws/": 404,
    }
    assert answers["/health/"].text == "ok\n"
    assert answers["/"].text == "This server has no pages.\n"
    assert "Traceback" not in live.log()


@pytest.mark.slow
async def test_its_end_is_told(live: TurboLive) -> None:
    """Both kinds of connections end at once, so that browsers connect anew."""
    options: dict[str, Any] = {"origin": live.url}
    async with (
        connect(f"{live.ws_url}/ws/", **options) as page,
        httpx.AsyncClient(base_url=live.url, timeout=PATIENCE) as http,
        http.stream("GET", "/turbo/sse/", params={"stream": signed()}) as response,
    ):
        lines = response.aiter_lines()
        assert (await anext(lines)).startswith("retry:")
        os.kill(live.pid, 15)
        with pytest.raises(websockets.ConnectionClosed):
            await page.recv()
        try:
            rest = [line async for line in lines]
        except httpx.RemoteProtocolError:  # Daphne cuts it
            rest = []

    await asyncio.to_thread(wait_until, lambda: not live.running)
    assert page.close_code == 1012
    assert [line for line in rest if line.startswith("data:")] == []
    assert live._popen is not None
    assert live._popen.returncode == 0
    for word in ("Traceback", "ERROR", "Exception", "graceful"):
        assert word not in live.log(), live.log()


@pytest.mark.slow
async def test_several_processes_share_a_port(
    project: Project, kind: str, start: Callable[[WebServer], TurboLive]
) -> None:
    port = free_port()
    one, two = (TurboLive(project, kind, "--reuse-port", port=port) for _ in range(2))
    await asyncio.to_thread(start, one)
    await asyncio.to_thread(start, two)
    await asyncio.to_thread(wait_until, lambda: two.log().count("Serving") == 2)

    await asyncio.to_thread(one.stop)
    async with LivePage(two.ws_url, signed()) as page:
        pass

    assert page.denied == []
    assert two.running


@pytest.mark.slow
async def test_a_unix_socket_and_the_headers_of_a_proxy(
    project: Project, kind: str, tmp_path: Path
) -> None:
    """It takes the place of the socket of a killed server, and leaves none."""
    path = tmp_path / "live.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    command = ["--uds", str(path), "--proxy-headers"]
    server = TurboLive(project, kind, *command, port=free_port())
    answered = lambda: running._accepts(path) or not server.running  # noqa: E731
    server._accepts_or_died = answered  # type: ignore[method-assign]
    await asyncio.to_thread(server.start)

    try:
        transport = httpx.AsyncHTTPTransport(uds=str(path))
        async with httpx.AsyncClient(transport=transport, timeout=PATIENCE) as http:
            answer = await http.get("http://127.0.0.1/health/")
        async with websockets.unix_connect(
            str(path),
            uri="ws://127.0.0.1/ws/",
            origin="https://127.0.0.1",  # type: ignore[arg-type]
            additional_headers={
                "X-Forwarded-For": "192.0.2.1",
                "X-Forwarded-Proto": "https",
            },
            open_timeout=PATIENCE,
        ) as page:
            await page.send('{"type":"ping"}')
            assert await page.recv() == '{"type":"pong"}'
    finally:
        await asyncio.to_thread(server.stop)

    assert answer.status_code == 200
    assert not path.exists()


# --- Without a server


def test_an_address_in_use_is_named(tmp_path: Path) -> None:
    path = tmp_path / "live.sock"
    address = Address(bind="", port=0, uds=str(path))

    with (
        listening(address),
        pytest.raises(ConfigurationError) as caught,
        listening(address),
    ):
        pass

    assert str(caught.value).startswith(f"Cannot listen at {path}: ")


def test_a_file_that_is_no_socket_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("kept")

    with (
        pytest.raises(ConfigurationError, match="in use"),
        listening(Address(bind="", port=0, uds=str(path))),
    ):
        pass

    assert path.read_text() == "kept"


@pytest.mark.parametrize("bind", ["127.0.0.1", "::1"])
def test_an_inherited_socket_is_taken(bind: str) -> None:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    try:
        given = socket.create_server((bind, 0), family=family)
    except OSError:
        pytest.skip("this machine has no such address")
    place = given.getsockname()

    with listening(Address(bind="", port=0, fd=given.detach())) as listener:
        assert (listener.family, listener.getsockname()) == (family, place)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (Address(bind="127.0.0.1", port=1), "127.0.0.1:1"),
        (Address(bind="::1", port=1), "[::1]:1"),
        (Address(bind="", port=1, uds="/run/a.sock"), "/run/a.sock"),
        (Address(bind="", port=1, fd=3), "descriptor 3"),
    ],
)
def test_an_address_is_shown(address: Address, shown: str) -> None:
    assert str(address) == shown


def test_a_layer_that_does_not_reach_the_site_is_refused() -> None:
    with pytest.raises(CommandError, match="InMemoryChannelLayer does not reach"):
        call_command("turbo_live")


plain = get_asgi_application()


def test_an_application_without_sockets_is_refused() -> None:
    name = "tests.server.test_live.plain"

    with (
        override_settings(ASGI_APPLICATION=name),
        pytest.raises(ConfigurationError) as caught,
    ):
        project_application()

    assert str(caught.value) == (
        f"ASGI_APPLICATION is {name!r}, which is Django's own application and serves "
        f"no WebSockets. Use turbo.asgi.get_application() there."
    )


def test_a_site_without_asgi_has_the_sockets_of_the_streams() -> None:
    with override_settings(ASGI_APPLICATION=None):
        application: Any = project_application()

    assert set(application.application_mapping) == {"http", "websocket", "lifespan"}


urlpatterns: list[Any] = []


@pytest.mark.parametrize(
    ("path", "served"),
    [
        ("/turbo/sse/", True),
        ("/turbo/recede_historical_location", True),
        ("/site/turbo/sse/", True),
        ("/rooms/1/", False),
        ("/turbo/", False),
        ("//", False),
    ],
)
async def test_the_urls_of_the_library_are_served(
    settings: Any, path: str, served: bool
) -> None:
    """With the prefix of the site, and without it."""
    settings.FORCE_SCRIPT_NAME = "/site"

    assert (await status(path) != 404) is served


async def test_a_path_of_event_streams_needs_no_url(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    settings.TURBO = {"SSE_PATH": "/events/"}

    async def says(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    assert await status("/events/", says) == 204
    assert await status("/turbo/sse/", says) == 404


async def status(path: str, application: Any = plain) -> int:
    communicator = HttpCommunicator(LiveApplication(application), "GET", path)
    answer = await communicator.get_response(PATIENCE)
    await communicator.wait(PATIENCE)
    return int(answer["status"])
