"""The Django app of the inspector: it begins to look on when the project starts."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings

from turbo.inspector.history import history

__all__ = ["InspectorConfig"]


class InspectorConfig(AppConfig):
    """Takes notes while ``DEBUG`` is on."""

    name = "turbo.inspector"
    label = "turbo_inspector"
    verbose_name = "Turbo inspector"

    def ready(self) -> None:
        """Open the history; without ``DEBUG`` it stays shut, and costs nothing."""
        if settings.DEBUG:
            history.open()
