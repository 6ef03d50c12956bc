from __future__ import annotations

from collections.abc import Iterator

import pytest

from turbo.changes.watchlist import watchlist
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
