"""The test's own process broadcasts; the pages are served by real servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from tests.guarantee.doors import Door
from tests.support.full import for_full_runs
from tests.support.servers import DATABASES, channel_layer
from turbo.delivery.broadcast import shut_down

FAST = ("--ws", "turbo.server:WebSocketProtocol")


@pytest.fixture(params=["redis", pytest.param("pubsub", marks=for_full_runs)])
def layer(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def same_layer(layer: str, request: pytest.FixtureRequest) -> Iterator[None]:
    """Let this process broadcast to where the servers listen."""
    turbo, url = dict(settings.TURBO), ""
    if layer in DATABASES:
        request.getfixturevalue(f"{layer}_tables")
        turbo["DATABASE"] = layer
    else:
        url = request.getfixturevalue("valkey").url
    layers = {"default": channel_layer(layer, url)}
    with override_settings(CHANNEL_LAYERS=layers, TURBO=turbo):
        yield
        shut_down(5)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    door = Door(tmp_path / "door")
    yield door
    door.open()  # or the server's threads would wait for ever


@pytest.fixture(params=["daphne", "fast", pytest.param("uvicorn", marks=for_full_runs)])
def serve(
    request: pytest.FixtureRequest, make_project: Callable[..., Any]
) -> Callable[..., Any]:
    """Start a server: ``serve(TURBO={…})``; its project is ``server.project``."""
    kind = "daphne" if request.param == "daphne" else "uvicorn"
    start = request.getfixturevalue(kind)

    def make(
        env: dict[str, str] | None = None,
        application: str = "tests.project.asgi:application",
        **settings: Any,
    ) -> Any:
        project = make_project("redis", **settings)
        arguments = FAST if request.param == "fast" else ()
        server = start(project, *arguments, env=env, application=application)
        server.project = project
        return server

    return make
