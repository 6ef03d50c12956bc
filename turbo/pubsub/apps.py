"""The Django app of pub/sub."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

from turbo.checks.declarations import check_app
from turbo.pubsub.checks import check_access, check_declarations, check_settings
from turbo.pubsub.watching import listen

__all__ = ["PubSubConfig"]


class PubSubConfig(AppConfig):
    """Watches the listenable models in every process, because each may change them."""

    name = "turbo.pubsub"
    label = "turbo_pubsub"
    verbose_name = "Turbo pub/sub"

    def ready(self) -> None:
        """Connect everything."""
        register(check_app)
        register(check_settings)
        register(check_declarations)
        register(check_access, deploy=True)
        listen()
