"""Fixtures of the bindings' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import connections
from django.test import override_settings
from pytest_django import DjangoDbBlocker

from tests.bindings.app.models import Product
from tests.bindings.databases import (
    ALIAS,
    plain_sqlite,
    postgres_database,
)
from tests.support.databases import another_database
from tests.support.servers import PATIENCE, Postgres, Valkey, channel_layer
from turbo.bindings import Binding
from turbo.bindings.cache.reading import forget_copies
from turbo.bindings.cache.registry import unregister
from turbo.bindings.store import get_store
from turbo.database.models import StoreSlot
from turbo.database.store import DatabaseStore
from turbo.database.thread import DatabaseThread
from turbo.delivery.broadcast import shut_down

Bind = Callable[..., type[Binding]]

DATABASE = "turbo.database.store.DatabaseStore"
#: Under load Redis may take longer than anybody should wait for it elsewhere.
PATIENT = settings.TURBO | {"BINDINGS": {"TIMEOUT": PATIENCE, "WAIT": PATIENCE}}


@pytest.fixture(scope="module")
def in_sqlite(
    tmp_path_factory: pytest.TempPathFactory, django_db_blocker: DjangoDbBlocker
) -> Iterator[str]:
    """The alias of a file for the store, which is empty at first."""
    settings = plain_sqlite(tmp_path_factory.mktemp("store") / "store.sqlite3")
    with django_db_blocker.unblock(), another_database("store-file", settings):
        yield "store-file"


@pytest.fixture(scope="module")
def in_postgres(
    postgres: Postgres, django_db_blocker: DjangoDbBlocker
) -> Iterator[str]:
    """The alias of a database in PostgreSQL for the store."""
    settings = postgres.create(f"store-{uuid4().hex[:8]}")
    with django_db_blocker.unblock(), another_database("store-server", settings):
        yield "store-server"


def empty_store(alias: str) -> None:
    """Delete all slots."""
    thread = DatabaseThread("empty", alias)
    thread.run(lambda: connections[alias].connect())
    thread.run(StoreSlot.objects.using(alias).all().delete)
    thread.close()


@pytest.fixture(params=["memory", "redis", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each kind of store, empty."""
    kind, turbo = request.param, dict(PATIENT)
    url = request.getfixturevalue("valkey").url if kind == "redis" else ""
    if kind in ("sqlite", "postgres"):
        alias = turbo["DATABASE"] = request.getfixturevalue(f"in_{kind}")
        turbo["BINDINGS"] = PATIENT["BINDINGS"] | {"BACKEND": DATABASE}
        empty_store(alias)
    layer = channel_layer("redis" if url else "memory", url)
    with override_settings(CHANNEL_LAYERS={"default": layer}, TURBO=turbo):
        made = get_store()
        if isinstance(made, DatabaseStore):
            # Django's test cases refuse to open connections to what is not theirs.
            made._thread.run(lambda: connections[alias].connect())
        yield kind
        shut_down(PATIENCE)
        if isinstance(made, DatabaseStore):
            made.close()
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
