"""Bindings of tenants: the same class, and rows, versions and clients of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.test import override_settings
from rest_framework import permissions, renderers
from rest_framework.test import APIRequestFactory

import turbo
from tests.bindings.app.models import Product
from tests.bindings.clients import Talk
from tests.bindings.conftest import Bind
from tests.bindings.test_viewsets import ProductSerializer
from tests.support.servers import PATIENCE
from tests.support.tenants import SETTINGS, at, current_tenant, tenant
from turbo.bindings import BindingConsumer, BoundModelViewSet
from turbo.bindings.binding import Binding
from turbo.bindings.cache.registry import kept

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.parametrize("store", ["memory", "redis"], indirect=True),
]

TENANTS = ("acme", "globex")


@pytest.fixture
def products(store: str, bind: Bind) -> Iterator[type[Binding]]:
    """A binding whose rows differ, as they do in schemas of their own."""
    own = settings.TURBO | SETTINGS
    with override_settings(TURBO=own):
        yield bind(Product, filters=lambda self: {"venue": current_tenant()})


def add(name: str, product: str) -> Product:
    with tenant(name):
        made: Product = Product.objects.create(name=product, venue=name)
    assert turbo.flush(PATIENCE)
    return made


def rows(products: type[Binding], name: str) -> list[str]:
    with tenant(name):
        return [row.name for row in products().all().values()]


def versions(products: type[Binding]) -> list[str]:
    found = []
    for name in TENANTS:
        with tenant(name):
            found.append(products().version)
    return found


def test_each_tenant_has_its_rows(products: type[Binding]) -> None:
    """They are brought up to date in its namespace, by whichever thread."""
    for name in TENANTS:
        add(name, f"Tea of {name}")
        assert rows(products, name) == [f"Tea of {name}"]

    ours, theirs = versions(products)
    add("acme", "Coffee")

    assert rows(products, "acme") == ["Tea of acme", "Coffee"]
    assert rows(products, "globex") == ["Tea of globex"]
    assert versions(products)[0] != ours
    assert versions(products)[1] == theirs


def test_a_command_sees_the_slots_of_its_tenant(products: type[Binding]) -> None:
    assert rows(products, "acme") == []

    for name, count in (("acme", 1), ("globex", 0), ("", 0)):
        with tenant(name):
            assert len(list(kept(products))) == count


def test_an_etag_is_of_no_use_to_another_tenant(products: type[Binding]) -> None:
    view: Any = type(
        "View",
        (BoundModelViewSet,),
        {
            "binding": products,
            "serializer_class": ProductSerializer,
            "authentication_classes": [],
            "permission_classes": [permissions.AllowAny],
            "renderer_classes": [renderers.JSONRenderer],
        },
    )
    get = view.as_view({"get": "list"})
    request = APIRequestFactory().get

    with tenant("acme"):
        etag = get(request("/products/"))["ETag"]
        again = get(request("/products/", headers={"If-None-Match": etag}))
    with tenant("globex"):
        theirs = get(request("/products/", headers={"If-None-Match": etag}))

    assert (again.status_code, theirs.status_code) == (304, 200)
    assert theirs["ETag"] != etag


async def test_clients_follow_the_rows_of_their_tenant(
    products: type[Binding],
) -> None:
    consumer = type("Consumer", (BindingConsumer,), {"binding": products})
    await sync_to_async(add)("globex", "Tea")
    seen: list[list[Any]] = []

    async with Talk(consumer, **at("acme")) as ours:
        await ours.synced()
        async with Talk(consumer, **at("globex")) as theirs:
            synced = await theirs.synced()
            await sync_to_async(add)("globex", "Coffee")
            await sync_to_async(add)("acme", "Milk")
            seen.append([(await theirs.receive())["action"]])
            message = await ours.receive()

    assert "Tea" in str(synced)
    assert seen == [["create"]]
    assert "Milk" in str(message)
