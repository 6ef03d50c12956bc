"""The Django app of what is kept in the database."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig

__all__ = ["DatabaseConfig"]


class DatabaseConfig(AppConfig):
    """The tables of the log, the channel layer, the bindings' store and the outbox."""

    name = "turbo.database"
    label = "turbo_database"
    verbose_name = "Turbo database"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect what needs the models."""
        import_module("turbo.database.ready").connect()
