"""The same conversations over sockets, with real servers and a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings

from tests.fuzz.conversing import converse
from tests.fuzz.frames import Frame, conversations
from tests.fuzz.peers import Closed, Live
from tests.fuzz.protocols import PROTOCOLS, Protocol
from tests.fuzz.searching import search
from tests.fuzz.world import World
from tests.pubsub.conftest import databases
from tests.pubsub.serving import log_in, session_of
from tests.support.full import for_full_runs
from tests.support.servers import Project, WebServer
from turbo.conf import get_settings

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
    pytest.mark.parametrize("layer", ["redis"], indirect=True),
    pytest.mark.slow,
]

FAST = ("--ws", "turbo.server:WebSocketProtocol")


@pytest.fixture
def project(layer: str, world: World, tmp_path: Path) -> Project:
    """A project over the database and the Redis of this process."""
    own = {name: getattr(settings, name) for name in ("CHANNEL_LAYERS", "TURBO")}
    return Project(tmp_path, {"DATABASES": databases(), **own})


@pytest.fixture(params=["daphne", "fast", pytest.param("uvicorn", marks=for_full_runs)])
def server(request: pytest.FixtureRequest, project: Project) -> WebServer:
    kind = request.param
    start: Callable[..., WebServer] = request.getfixturevalue(
        "daphne" if kind == "daphne" else "uvicorn"
    )
    options = FAST if kind == "fast" else ()
    return start(project, *options, application="tests.fuzz.asgi:application")


def test_a_server_answers_every_frame(
    server: WebServer, world: World, request: pytest.FixtureRequest
) -> None:
    cookie = f"sessionid={session_of(log_in(world.stranger))}"

    disturb = sync_to_async(world.disturb)

    def examine(protocol: Protocol) -> None:
        def connect() -> Live:
            return Live(f"{server.ws_url}/ws/{protocol.name}/", Cookie=cookie)

        async def check(frames: list[Frame]) -> None:
            limit = get_settings().max_frame_bytes
            given = (protocol, connect, world.words(), disturb, frames)
            await converse(*given, limit=limit)

        search(
            check,
            conversations(protocol.frames),
            examples=8,
            before=world.prepare,
            after=lambda: world.is_untouched() and not complaints(server.log()),
        )

    for protocol in PROTOCOLS:
        examine(protocol)

    for protocol in PROTOCOLS:
        url = f"{server.ws_url}/ws/{protocol.name}/"

        # Daphne drops the connection, for which clients have a number of their own.
        assert asyncio.run(code_for_half_a_character(url)) in (1006, 1007)

    assert server.running
    if "uvicorn" not in request.node.callspec.id.split(
        "-"
    ):  # which logs a traceback of its own
        assert not complaints(server.log())


async def code_for_half_a_character(url: str) -> int | None:
    """Send what no WebSocket may carry as text, and return how the server ends it."""
    async with Live(url) as peer:
        await peer.send_as_text(b'{"type":"ping","\xff')
        try:
            while True:
                await peer.next()
        except Closed as closed:
            return closed.code


def complaints(log: str) -> str:
    """Return the log of a server from its first error on."""
    places = [log.find(word) for word in ("Traceback", "ERROR") if word in log]
    return log[min(places) :] if places else ""
