"""What a read costs: queries, bytes from Redis, rows serialised."""

from __future__ import annotations

from typing import Any

import pytest
from pytest_django.asserts import assertNumQueries
from rest_framework import permissions, renderers, serializers
from rest_framework.test import APIRequestFactory

from tests.bindings.app.models import Product
from tests.bindings.databases import ALIAS
from tests.support.servers import Valkey
from turbo.bindings import Binding, BoundModelViewSet
from turbo.bindings.cache.reading import forget_copies

ROWS = 1_000


def received(valkey: Valkey) -> int:
    """Return how many bytes Redis has sent to its clients."""
    with valkey.client() as client:
        return int(client.info("stats")["total_net_output_bytes"])


def test_all_reads_what_has_changed_and_no_more(
    large_binding: Binding, valkey: Valkey
) -> None:
    """From the copy of this process; the database is not asked."""
    rows = {row.pk: row for row in large_binding.ordered_queryset()}
    assert large_binding.all() == rows
    forget_copies()
    product = Product.objects.using(ALIAS).first()
    assert product is not None
    product.stock += 1

    before = received(valkey)
    with assertNumQueries(0, using=ALIAS):
        assert large_binding.all() == rows
    everything = received(valkey)
    with assertNumQueries(0, using=ALIAS):
        assert large_binding.all() == rows
    nothing = received(valkey)
    product.save(using=ALIAS)
    with assertNumQueries(0, using=ALIAS):
        assert large_binding.all()[product.pk].stock == product.stock
    one_row = received(valkey)

    assert everything - before > 100 * ROWS
    assert nothing - everything < 10 * ROWS
    assert one_row - nothing < 10 * ROWS


def test_304_serialises_no_row(
    large_binding: Binding, monkeypatch: pytest.MonkeyPatch
) -> None:
    serialised: list[int] = []
    represent = serializers.Serializer.to_representation

    def count(self: Any, instance: Product) -> Any:
        serialised.append(instance.pk)
        return represent(self, instance)

    monkeypatch.setattr(serializers.Serializer, "to_representation", count)

    class ProductSerializer(serializers.ModelSerializer[Product]):
        class Meta:
            model = Product
            fields = ("id", "name", "venue")

    attributes = {
        "binding": large_binding,
        "serializer_class": ProductSerializer,
        "authentication_classes": [],
        "permission_classes": [permissions.AllowAny],
        "renderer_classes": [renderers.JSONRenderer],
    }
    view: Any = type("View", (BoundModelViewSet,), attributes).as_view({"get": "list"})
    factory = APIRequestFactory()

    def get(**headers: str) -> Any:
        response = view(factory.get("/products/", headers=headers))
        return response.render()

    full = get()
    assert (full.status_code, len(serialised)) == (200, ROWS)
    with assertNumQueries(0, using=ALIAS):
        unchanged = get(**{"If-None-Match": full["ETag"]})

    assert (unchanged.status_code, len(serialised)) == (304, ROWS)
