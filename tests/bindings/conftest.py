"""Fixtures of the bindings' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from tests.support.servers import PATIENCE, channel_layer
from turbo.bindings import Binding
from turbo.bindings.cache.reading import forget_copies
from turbo.bindings.cache.registry import unregister
from turbo.bindings.store import get_store
from turbo.delivery.broadcast import shut_down

Bind = Callable[..., type[Binding]]

#: Under load Redis may take longer than anybody should wait for it elsewhere.
PATIENT = settings.TURBO | {"BINDINGS": {"TIMEOUT": PATIENCE}}


@pytest.fixture(params=["memory", "redis"])
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each kind of store, empty."""
    kind = request.param
    url = "" if kind == "memory" else request.getfixturevalue("valkey").url
    with override_settings(
        CHANNEL_LAYERS={"default": channel_layer(kind, url)}, TURBO=PATIENT
    ):
        get_store()
        yield kind
        shut_down()
    forget_copies()


@pytest.fixture
def bind() -> Iterator[Bind]:
    """Declare a binding for one test: ``bind(Product, filters={…})``."""
    made: list[type[Binding]] = []

    def declare(model: Any, name: str = "Bound", **attributes: Any) -> type[Binding]:
        cls = type(
            name, (Binding,), {"model": model, "__module__": __name__, **attributes}
        )
        made.append(cls)
        return cls

    yield declare
    for cls in made:
        unregister(cls)
