from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import override_settings

from tests.support.servers import channel_layer
from turbo.changes.watchlist import watchlist
from turbo.delivery.broadcast import shut_down
from turbo.observers import ModelObserver


@pytest.fixture(autouse=True)
def _no_observer_outlives_its_test() -> Iterator[None]:
    """Or one that fails on purpose would fail in others, too."""
    known = list(watchlist)
    yield
    for watch in list(watchlist):
        owner = getattr(watch.callback, "__self__", None)
        if watch not in known and isinstance(owner, ModelObserver):
            watch.stop()


@pytest.fixture(params=["memory", "redis", "pubsub"])
def layer(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each kind of channel layer, with the replay log that goes with it."""
    kind = request.param
    url = "" if kind == "memory" else request.getfixturevalue("valkey").url
    with override_settings(CHANNEL_LAYERS={"default": channel_layer(kind, url)}):
        yield kind
        shut_down()
