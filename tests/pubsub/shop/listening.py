"""What the settings of tests name by dotted path."""

from __future__ import annotations

from typing import Any

from tests.pubsub.shop.models import Crate
from turbo.pubsub import ModelListenConfig


class CrateListenConfig(ModelListenConfig):
    model_path = "shop.Crate"
    serializer_fields = ("pk", "weight")

    def has_access(self, instance: Crate, user: Any) -> bool:
        return instance.weight < 100


class ToppingListenConfig(ModelListenConfig):
    """One too many: the model has the mixin."""

    model_path = "shop.Topping"


class NowhereListenConfig(ModelListenConfig):
    model_path = "shop.Nowhere"


def hello(user: Any) -> dict[str, Any]:
    return {"hello": user.get_username()}


def no_hello(user: Any) -> None:
    return None


def broken_hello(user: Any) -> dict[str, Any]:
    raise RuntimeError("no words")
