from __future__ import annotations

from django.apps import AppConfig

from turbo.delivery import broadcast
from turbo.streams import present, text_sender


class TestAppConfig(AppConfig):
    name = "tests.testapp"
    label = "testapp"

    def ready(self) -> None:
        """
        Let pages, and the beginning of a text, wait for what the log answers.

        On a loaded machine a page would go on without, and refresh itself or ask later,
        and a second writer of a text would learn only later that it is refused.
        """
        broadcast.FIRST_MOMENT_TIMEOUT = 120.0
        present.PATIENCE = text_sender.PATIENCE = 120.0
