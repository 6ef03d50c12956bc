from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import connections
from django.test import override_settings

from tests.pubsub.serving import PubSubServer
from tests.support.servers import Project, Valkey, channel_layer
from turbo.delivery.broadcast import shut_down


def turbo_settings(**pubsub: Any) -> dict[str, Any]:
    models = ["tests.pubsub.shop.listening.CrateListenConfig"]
    return {"PUBSUB": {"EXTRA_MODELS": models, **pubsub}}


def project_settings(valkey: Valkey, **pubsub: Any) -> dict[str, Any]:
    """Return the settings that the server and the tests' own process share."""
    layers = {"default": channel_layer("redis", valkey.url)}
    return {
        "CHANNEL_LAYERS": layers,
        "TURBO": turbo_settings(**pubsub),
        "CSRF_TRUSTED_ORIGINS": ["http://localhost:8000"],  # the site's own server
    }


def databases() -> dict[str, Any]:
    """Return settings for the databases that the tests write to."""
    return {
        alias: {
            **settings.DATABASES[alias],
            "NAME": connections[alias].settings_dict["NAME"],
        }
        for alias in connections
    }


def make_server(
    directory: Any, valkey: Valkey, *arguments: str, **pubsub: Any
) -> PubSubServer:
    own = project_settings(valkey, **pubsub)
    project = Project(directory, {"DATABASES": databases(), **own})
    return PubSubServer(project, *arguments)


@pytest.fixture(scope="session")
def _shared_server(
    valkey_server: Valkey,
    tmp_path_factory: pytest.TempPathFactory,
    django_db_setup: None,
) -> Iterator[PubSubServer]:
    server = make_server(
        tmp_path_factory.mktemp("pubsub"),
        valkey_server,
        QUERY_TOKEN=True,
        HELLO_MESSAGES=[
            "tests.pubsub.shop.listening.hello",
            "tests.pubsub.shop.listening.no_hello",
            "tests.pubsub.shop.listening.broken_hello",
        ],
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def server(
    _shared_server: PubSubServer, published: Valkey, transactional_db: None
) -> PubSubServer:
    """A server that lets anyone in, over the tests' own database."""
    return _shared_server


@pytest.fixture
def start(
    valkey: Valkey, published: Valkey, tmp_path: Any, transactional_db: None
) -> Iterator[Callable[..., PubSubServer]]:
    """Start a server with settings of its own."""
    servers: list[PubSubServer] = []

    def start(*arguments: str, **pubsub: Any) -> PubSubServer:
        server = make_server(tmp_path, valkey, *arguments, **pubsub)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def published(valkey: Valkey) -> Iterator[Valkey]:
    """Publish what the tests change on this Redis."""
    with override_settings(**project_settings(valkey)):
        yield valkey
        shut_down(5)
