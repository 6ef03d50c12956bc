"""Fixtures of the searches."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import override_settings

from tests.fuzz.world import World
from tests.support.servers import channel_layer
from turbo.bindings.cache.reading import forget_copies
from turbo.delivery.broadcast import shut_down

#: Rates would soon refuse what a search sends; they have tests of their own.
WITHOUT_RATES = {"FRAMES": None, "NAMES": None, "TESTS": None, "REPLAY_BYTES": None}


@pytest.fixture(params=["memory", "redis"])
def layer(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each kind of replay log and store, for a test that asks for it."""
    kind: str = request.param
    url = "" if kind == "memory" else request.getfixturevalue("valkey").url
    with override_settings(
        CHANNEL_LAYERS={"default": channel_layer(kind, url)},
        TURBO={"CONNECTION_LIMITS": WITHOUT_RATES, "USER_LIMITS": WITHOUT_RATES},
    ):
        yield kind
        shut_down()
    forget_copies()


@pytest.fixture
def world(transactional_db: None) -> World:
    return World()
