"""Fixtures of the bindings' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from tests.bindings.app.models import Product
from tests.bindings.databases import ALIAS, postgres_database
from tests.support.servers import PATIENCE, Postgres, Valkey, channel_layer
from turbo.bindings import Binding
from turbo.bindings.cache.reading import forget_copies
from turbo.bindings.cache.registry import unregister
from turbo.bindings.store import get_store
from turbo.delivery.broadcast import shut_down

Bind = Callable[..., type[Binding]]

#: Under load Redis may take longer than anybody should wait for it elsewhere.
PATIENT = settings.TURBO | {"BINDINGS": {"TIMEOUT": PATIENCE, "WAIT": PATIENCE}}


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
        shut_down(PATIENCE)
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


@pytest.fixture(scope="module")
def cost_database(
    postgres: Postgres, django_db_blocker: DjangoDbBlocker
) -> Iterator[str]:
    yield from postgres_database(postgres, django_db_blocker, name="bindings-cost")


@pytest.fixture
def large_binding(cost_database: str, valkey: Valkey, bind: Bind) -> Iterator[Binding]:
    """A binding of a thousand products in PostgreSQL, which Redis keeps."""
    layers = {"default": channel_layer("redis", valkey.url)}
    with override_settings(CHANNEL_LAYERS=layers):
        objects = Product.objects.using(ALIAS)
        if not objects.exists():
            objects.bulk_create(Product(name=f"Product {n}") for n in range(1_000))
        yield bind(Product, using=ALIAS, filters={"venue": "store"})()
        shut_down()
    forget_copies()
