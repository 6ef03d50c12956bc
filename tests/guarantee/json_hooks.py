"""What the JSON clients' site declares, and its settings name by dotted path."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from tests.bindings.app.models import Product
from turbo.bindings import Binding
from turbo.pubsub import ModelListenConfig, tokens

__all__ = ["LabelListenConfig", "Shelf", "authenticate", "wait_at_the_door"]


def wait_at_the_door(username: str, what: str) -> None:
    """Say who asks for what; eve waits until the door is open."""
    if not (door := os.environ.get("TURBO_TEST_DOOR")):
        return
    with Path(door).with_suffix(".asked").open("a") as asked:
        asked.write(f"{username} {what}\n")
    while username == "eve" and not Path(door).exists():
        time.sleep(0.005)


def authenticate(token: str) -> Any:
    """Read a token, which takes as long as the door is shut for eve."""
    user = tokens.authenticate(token)
    wait_at_the_door(user.username if user else "", "token")
    return user


class Shelf(Binding):
    """One for each value of its argument."""

    model = Product
    params = ("stock",)

    def get_filters(self) -> dict[str, Any]:
        return {"stock": self.stock}


class LabelListenConfig(ModelListenConfig):
    """Labels are for those whom the door lets in."""

    model_path = "bindings_app.Label"
    serializer_fields = ("text",)

    @classmethod
    def has_access(cls, instance: Any, user: Any) -> bool:
        wait_at_the_door(user.username, instance.text)
        return True
