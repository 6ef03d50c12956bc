from __future__ import annotations

from django.apps import AppConfig

from turbo.delivery import broadcast


class TestAppConfig(AppConfig):
    name = "tests.testapp"
    label = "testapp"

    def ready(self) -> None:
        """
        Let the first page of a process wait for the log's clock.

        On a loaded machine it would go on without, and refresh itself once.
        """
        broadcast.FIRST_MOMENT_TIMEOUT = 120.0
