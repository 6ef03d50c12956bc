"""The Django app: with it, each process hears of what consumers observe."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register
from django.utils.module_loading import autodiscover_modules

from turbo.observers.checks import check_options, check_permissions

__all__ = ["ObserversConfig"]


class ObserversConfig(AppConfig):
    """Discovers the consumers, in the server as in a shell."""

    name = "turbo.observers"
    label = "turbo_observers"
    verbose_name = "Turbo observers"

    def ready(self) -> None:
        """Import the ``consumers`` module of every installed app."""
        register(check_options)
        register(check_permissions, deploy=True)
        autodiscover_modules("consumers")
