"""The Django app of the inspector."""

from __future__ import annotations

from django.apps import AppConfig
from django.conf import settings

from turbo.inspector.access import is_for_staff
from turbo.inspector.history import history
from turbo.inspector.reporter import start
from turbo.runtime.beginnings import when_begun

__all__ = ["InspectorConfig"]


class InspectorConfig(AppConfig):
    """Records from the start with ``DEBUG``; reports if staff may look."""

    name = "turbo.inspector"
    label = "turbo_inspector"
    verbose_name = "Turbo inspector"

    def ready(self) -> None:
        """Open the history with ``DEBUG``, and start the reporter for staff."""
        if settings.DEBUG:
            history.open()
        if is_for_staff():
            when_begun(start)
