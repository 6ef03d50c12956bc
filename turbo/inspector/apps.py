"""The Django app of the inspector, which records from the start of the project."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings

from turbo.inspector.history import history

__all__ = ["InspectorConfig"]


class InspectorConfig(AppConfig):
    """Open the history if ``DEBUG`` is on."""

    name = "turbo.inspector"
    label = "turbo_inspector"
    verbose_name = "Turbo inspector"

    def ready(self) -> None:
        """Open the history; without ``DEBUG`` it stays closed and costs nothing."""
        if settings.DEBUG:
            history.open()
