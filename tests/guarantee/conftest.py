"""The test's own process broadcasts; the pages are served by real servers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import override_settings

from tests.servers import channel_layer
from turbo.broadcast import shut_down


@pytest.fixture(params=["redis", "pubsub"])
def layer(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def same_redis(layer: str, valkey: Any) -> Iterator[None]:
    """Let this process broadcast to where the servers listen."""
    with override_settings(
        CHANNEL_LAYERS={"default": channel_layer(layer, valkey.url)}
    ):
        yield
        shut_down(5)
