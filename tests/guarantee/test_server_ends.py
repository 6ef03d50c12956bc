"""A server that is told to end sends what waits, and its pages hear of the end."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import websockets

from tests.support.clients import LivePage, connect
from tests.support.documents import DOCS, blocks
from tests.support.full import for_full_runs
from tests.support.servers import (
    PATIENCE,
    ROOT,
    Daphne,
    Project,
    Uvicorn,
    Valkey,
    WebServer,
    free_port,
)
from tests.testapp.streams import RoomStream

pytestmark = pytest.mark.slow

FAST = ("--ws", "turbo.server:WebSocketProtocol")


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    # So long may Redis be away.
    return make_project("redis", TURBO={"FLUSH_TIMEOUT": PATIENCE})


@pytest.fixture(
    params=[
        "uvicorn",
        "gunicorn",
        pytest.param("gunicorn --preload", marks=for_full_runs),
    ]
)
def server(
    request: pytest.FixtureRequest,
    project: Project,
    uvicorn: Callable[..., Uvicorn],
    tmp_path: Path,
) -> Iterator[WebServer]:
    """uvicorn, alone or in gunicorn as the how-to has it."""
    if request.param == "uvicorn":
        yield uvicorn(project, *FAST)
        return
    options = request.param.split()[1:]
    gunicorn = gunicorn_of_the_how_to(project, tmp_path, *options)
    gunicorn.start()
    try:
        yield gunicorn
    finally:
        gunicorn.stop()


def gunicorn_of_the_how_to(
    project: Project, directory: Path, *options: str
) -> WebServer:
    found = blocks(DOCS / "howto/deployment.rst")
    [module] = [item.code for item in found if item.caption == "config/workers.py"]
    [command] = [item.code for item in found if "$ gunicorn " in item.code]
    package = directory / "config"
    package.mkdir()
    (package / "workers.py").write_text(module)

    port = free_port()
    socket = "unix:/run/chat/gunicorn.sock"
    _, *arguments = shlex.split(command.removeprefix("$ "))
    arguments[arguments.index(socket)] = f"127.0.0.1:{port}"
    arguments[arguments.index("config.asgi:application")] = (
        "tests.project.asgi:application"
    )
    path = os.pathsep.join([str(directory), str(ROOT)])
    return WebServer(
        project, ["gunicorn", *options, *arguments], port, {"PYTHONPATH": path}
    )


async def test_the_fast_path_is_used_and_the_end_is_told(server: WebServer) -> None:
    """The class compresses a message for all, so it keeps no context for one."""
    url, origin = f"{server.ws_url}/ws/", server.url
    async with connect(url, origin=origin) as socket:  # type: ignore[arg-type]
        assert socket.response is not None
        negotiated = socket.response.headers["Sec-WebSocket-Extensions"]
        assert "server_no_context_takeover" in negotiated
        await socket.send('{"type":"ping"}')
        assert await socket.recv() == '{"type":"pong"}'
        await asyncio.to_thread(server.stop)
        with pytest.raises(websockets.ConnectionClosed):
            await socket.recv()

    assert socket.close_code == 1012


async def test_what_waits_at_the_end_is_sent(
    project: Project,
    server: WebServer,
    daphne: Callable[..., Daphne],
    valkey: Valkey,
) -> None:
    front = await asyncio.to_thread(daphne, project)
    async with LivePage(front.ws_url, RoomStream(1).signed_stream_name) as page:
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as http:
            valkey.pause()
            try:
                answer = await http.get("/rooms/1/say/?text=at the end")
            finally:
                os.kill(server.pid, signal.SIGTERM)
                await asyncio.to_thread(
                    server.wait_for_log, "Waiting for application shutdown."
                )
                valkey.resume()
        await page.until(lambda: any("at the end" in data for data in page.data))

    assert answer.status_code == 200
    assert page.gaps == 0
