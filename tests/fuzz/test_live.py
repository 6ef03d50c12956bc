"""The same conversations over sockets, with real servers and a real Redis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings

from tests.fuzz.conversing import converse
from tests.fuzz.frames import Frame, conversations
from tests.fuzz.peers import Live
from tests.fuzz.protocols import PROTOCOLS, Protocol
from tests.fuzz.searching import search
from tests.fuzz.world import World
from tests.pubsub.conftest import databases
from tests.pubsub.serving import log_in, session_of
from tests.servers import Project, WebServer
from turbo.conf import get_settings

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])

FAST = ("--ws", "turbo.server:WebSocketProtocol")


@pytest.fixture
def project(layer: str, world: World, tmp_path: Path) -> Project:
    """A project over the database and the Redis of this process."""
    own = {name: getattr(settings, name) for name in ("CHANNEL_LAYERS", "TURBO")}
    return Project(tmp_path, {"DATABASES": databases(), **own})


@pytest.fixture(params=["daphne", "uvicorn", "fast"])
def server(request: pytest.FixtureRequest, project: Project) -> WebServer:
    kind = request.param
    start: Callable[..., WebServer] = request.getfixturevalue(
        "daphne" if kind == "daphne" else "uvicorn"
    )
    options = FAST if kind == "fast" else ()
    return start(project, *options, application="tests.fuzz.asgi:application")


@pytest.mark.parametrize("layer", ["redis"], indirect=True)
def test_a_server_answers_every_frame(server: WebServer, world: World) -> None:
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
            after=lambda: world.is_untouched() and is_quiet(server),
        )

    for protocol in PROTOCOLS:
        examine(protocol)
    assert server.running


def is_quiet(server: Any) -> bool:
    log = server.log()
    return "Traceback" not in log and "ERROR" not in log
