from __future__ import annotations

import hashlib
import json
import os
import random
import time
import traceback
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError, connections, transaction

import turbo
from tests.bindings.app.bindings import Alphabet, Ranking, StoreProducts
from tests.bindings.app.models import Product
from turbo.bindings import Binding

BINDINGS = (StoreProducts, Ranking, Alphabet)


class Undo(Exception):
    pass


class Command(BaseCommand):
    help = "Write at random in several processes; note each version that was seen."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("processes", type=int)
        parser.add_argument("seconds", type=float)
        parser.add_argument("directory", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        for cls in BINDINGS:
            cls().all()  # with connections that a forked process must not use
        connections.close_all()
        children = [
            self.fork(seed, options["seconds"], options["directory"])
            for seed in range(options["processes"])
        ]
        codes = [os.waitpid(child, 0)[1] for child in children]
        assert codes == [0] * len(codes)

    def fork(self, seed: int, seconds: float, directory: Path) -> int:
        child = os.fork()
        if child:
            return child
        try:
            report = self.write(seed, seconds)
            (directory / f"{seed}.json").write_text(json.dumps(report))
            assert turbo.flush(60)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def write(self, seed: int, seconds: float) -> dict[str, Any]:
        self.chance = random.Random(seed)
        self.seen: dict[str, str] = {}
        self.last: dict[str, tuple[str, int]] = {}
        self.writes = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                self.act()
            except (DatabaseError, Undo):
                continue  # a deadlock, a row that is gone by now, or as it was meant
            if self.chance.random() < 0.1:
                self.look(self.chance.choice(BINDINGS)())
        failed = turbo.counters()["failed"]
        return {"writes": self.writes, "seen": self.seen, "failed": failed}

    def act(self) -> None:
        action = self.chance.choices(
            [self.create, self.change, self.delete, self.several, self.in_bulk],
            weights=[3, 8, 3, 2, 0.2],
        )[0]
        action()
        self.writes += 1

    def create(self) -> None:
        Product.objects.create(**self.values())

    def change(self) -> None:
        product = self.some()
        if product is not None:
            values = self.values()
            names = self.chance.sample(sorted(values), 2)
            for name in names:
                setattr(product, name, values[name])
            product.save(update_fields=names)

    def delete(self) -> None:
        product = self.some()
        if product is not None:
            product.delete()

    def several(self) -> None:
        """Several changes in one transaction, some of them undone."""
        with transaction.atomic():
            self.change()
            try:
                with transaction.atomic():
                    self.create()
                    self.delete()
                    if self.chance.random() < 0.5:
                        raise Undo
            except Undo:
                pass
            self.change()
            if self.chance.random() < 0.2:
                raise Undo

    def in_bulk(self) -> None:
        objects = turbo.ChangesQuerySet(Product)
        if self.chance.random() < 0.5:
            objects.bulk_create([Product(**self.values()) for _ in range(5)])
        else:
            stock = self.chance.randrange(-2, 6)
            objects.filter(stock=stock).update(venue=self.values()["venue"])

    def some(self) -> Product | None:
        first = Product.objects.order_by("pk").values_list("pk", flat=True).first()
        last = Product.objects.order_by("pk").values_list("pk", flat=True).last()
        if first is None or last is None:
            return None
        wanted = self.chance.randint(first, last)
        return Product.objects.filter(pk__gte=wanted).order_by("pk").first()

    def values(self) -> dict[str, Any]:
        return {
            "name": self.chance.choice(["", "a", "B", "b", "ä", "a b", "ab", "_z"]),
            "venue": self.chance.choice(["store", "online"]),
            "stock": self.chance.randrange(-2, 6),
            "price": self.chance.randrange(1, 4),
        }

    def look(self, binding: Binding) -> None:
        """Note a version and what it means; it must never go back."""
        snapshot = binding.snapshot()
        if snapshot.state is None:
            return
        version = snapshot.state.version
        epoch, number = self.last.get(binding.label, ("", 0))
        assert epoch != version.epoch or version.number >= number
        self.last[binding.label] = version
        content = json.dumps(list(snapshot.texts.items())).encode()
        digest = hashlib.sha256(content).hexdigest()
        assert self.seen.setdefault(f"{binding.label} {version}", digest) == digest
