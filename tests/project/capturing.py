"""An app with which a live project captures the messages, also without a save."""

from __future__ import annotations

from django.apps import AppConfig

from turbo.database import capture

__all__ = ["CapturingConfig"]


class CapturingConfig(AppConfig):
    name = "tests.project"
    label = "capturing"

    def ready(self) -> None:
        capture(self.apps.get_model("testapp", "Message"))  # type: ignore[union-attr]
