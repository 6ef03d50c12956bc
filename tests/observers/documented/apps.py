from __future__ import annotations

from django.apps import AppConfig


class DocumentedConfig(AppConfig):
    """The two cases of the documentation, as they are written there."""

    name = "tests.observers.documented"
    label = "documented"
