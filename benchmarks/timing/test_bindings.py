"""Compare the cost of a read with that of the query that it replaces."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pytest_django.asserts import assertNumQueries
from rest_framework import permissions, renderers, serializers
from rest_framework.test import APIRequestFactory

from tests.bindings.app.models import Product
from tests.bindings.databases import ALIAS
from turbo.bindings import Binding, BoundModelViewSet

ROWS = 1_000


def best(work: Callable[[], Any], *, times: int = 15) -> float:
    """Return the shortest time in milliseconds; longer ones are due to other load."""
    durations = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        durations.append(time.perf_counter() - started)
    return min(durations) * 1_000


def test_all_is_faster_than_its_query(
    large_binding: Binding, record_property: Callable[[str, Any], None]
) -> None:
    """This is so with the copy of this process, and after a change of one row."""
    product = Product.objects.using(ALIAS).first()
    assert product is not None

    def query() -> dict[int, Product]:
        return {row.pk: row for row in large_binding.ordered_queryset()}

    assert large_binding.all() == query()
    with assertNumQueries(0, using=ALIAS):
        assert len(large_binding.all()) == ROWS

    from_database, from_cache = best(query), best(large_binding.all)

    def after_change() -> float:
        product.stock += 1
        product.save(using=ALIAS)
        return best(large_binding.all, times=1)

    changed = min(after_change() for _ in range(10))
    record_property("query_ms", from_database)
    record_property("all_ms", from_cache)
    record_property("all_after_a_change_ms", changed)
    print(
        f"\n{ROWS} rows: query {from_database:.2f} ms, all() {from_cache:.2f} ms "
        f"({from_database / from_cache:.1f} times), after a change {changed:.2f} ms"
    )
    assert from_cache < from_database
    assert changed < from_database


def test_304_is_faster_than_200(
    large_binding: Binding, record_property: Callable[[str, Any], None]
) -> None:
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

    etag = {"If-None-Match": get()["ETag"]}
    assert (get().status_code, get(**etag).status_code) == (200, 304)

    full, unchanged = best(get), best(lambda: get(**etag))
    record_property("full_ms", full)
    record_property("unchanged_ms", unchanged)
    print(f"\n200 {full:.2f} ms, 304 {unchanged:.2f} ms ({full / unchanged:.0f} times)")
    assert unchanged * 5 < full
