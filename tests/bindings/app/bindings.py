"""The bindings that live servers know; found by autodiscovery."""

from __future__ import annotations

from django.db.models import QuerySet

import turbo.bindings
from tests.bindings.app.models import Product


class StoreProducts(turbo.bindings.Binding):
    model = Product
    filters = {"venue": "store"}  # noqa: RUF012


class Ranking(turbo.bindings.Binding):
    """Sorted by what Python sorts as well."""

    model = Product
    excludes = {"stock__lt": 0}  # noqa: RUF012

    def get_queryset(self) -> QuerySet[Product]:
        return super().get_queryset().order_by("-stock", "price")


class Alphabet(turbo.bindings.Binding):
    """Listed by the database."""

    model = Product

    def get_queryset(self) -> QuerySet[Product]:
        return Product.objects.filter(stock__gte=3).order_by("name")
