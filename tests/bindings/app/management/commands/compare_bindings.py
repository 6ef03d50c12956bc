from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand

from tests.bindings.app.management.commands.write_randomly import BINDINGS
from tests.bindings.app.models import Product


class Command(BaseCommand):
    help = "Print what each binding holds, and what its queryset does."

    def handle(self, *args: Any, **options: Any) -> None:
        found = {}
        for cls in BINDINGS:
            binding = cls()
            snapshot = binding.snapshot()
            assert snapshot.state is not None
            rows = [self.row(product) for product in binding.ordered_queryset()]
            found[cls.__name__] = {
                "version": str(snapshot.state.version),
                "texts": dict(snapshot.texts),
                "kept": [self.row(product) for product in snapshot.all().values()],
                "queryset": rows,
                "missing": binding.refresh(),
            }
        self.stdout.write(json.dumps(found))

    def row(self, product: Product) -> list[Any]:
        values = (product.name, product.venue, product.stock, str(product.price))
        return [product.pk, *values]
