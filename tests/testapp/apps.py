from __future__ import annotations

from django.apps import AppConfig

from turbo.delivery import broadcast, questions
from turbo.streams import growing, text_sender


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
        questions.PATIENCE = questions.PATIENCE_OF_LOOP = 120.0
        text_sender.PATIENCE = growing.STUCK = 120.0
