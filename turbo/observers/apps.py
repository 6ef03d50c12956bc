"""The Django app, which imports the consumers in each process."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register
from django.utils.module_loading import autodiscover_modules

from turbo.checks.declarations import check_app
from turbo.observers.checks import check_names, check_options, check_permissions

__all__ = ["ObserversConfig"]


class ObserversConfig(AppConfig):
    """Import all consumers, so that changes made in any process reach observers."""

    name = "turbo.observers"
    label = "turbo_observers"
    verbose_name = "Turbo observers"

    def ready(self) -> None:
        """Import the ``consumers`` module of every installed app."""
        register(check_app)
        register(check_options)
        register(check_names)
        register(check_permissions, deploy=True)
        autodiscover_modules("consumers")
