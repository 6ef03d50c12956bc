"""A pytest plugin with fixtures for streams that exist for one test only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import turbo
from turbo.changes.watchlist import watchlist
from turbo.streams import registry
from turbo.streams.model_streams import StreamDescriptor

__all__ = ["declare", "declaring"]


@pytest.fixture
def declare() -> Iterator[Callable[..., Any]]:
    """Return a function that declares a model stream for this test only."""
    known, models = dict(registry._classes), []

    def make(name: str, model: Any, *, attribute: str = "stream", **body: Any) -> Any:
        options = {"model": model, "attribute": attribute, "app_label": "tests"}
        if body.pop("presence", False):
            options["presence"] = True
        meta = type("Meta", (), options)
        cls = type(turbo.ModelStream)(
            name, (turbo.ModelStream,), {"Meta": meta, **body}
        )
        models.append((model, attribute, cls))
        return cls

    yield make
    registry._classes.clear()
    registry._classes.update(known)
    for model, attribute, cls in models:
        current = vars(model).get(attribute)
        if isinstance(current, StreamDescriptor) and current.stream_class is cls:
            delattr(model, attribute)
        for watch in list(watchlist):
            if watch.callback == cls._changed:
                watch.stop()


@pytest.fixture
def declaring(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Unregister the test's streams afterwards; each needs an attribute of its own."""
    known = list(watchlist)
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    yield
    for watch in list(watchlist):
        if watch not in known:
            watch.stop()
