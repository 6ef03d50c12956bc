"""The bindings that live servers know; found by autodiscovery."""

from __future__ import annotations

import turbo.bindings
from tests.bindings.app.models import Product


class StoreProducts(turbo.bindings.Binding):
    model = Product
    filters = {"venue": "store"}  # noqa: RUF012
