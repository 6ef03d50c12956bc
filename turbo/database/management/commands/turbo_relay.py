"""``manage.py turbo_relay``: tell what ended processes have left in the outbox."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from turbo.changes.durability import is_used
from turbo.database.captured import relay as captured
from turbo.database.outbox import relay

__all__ = ["Command"]


class Command(BaseCommand):
    """Look for changes of ended processes until it is stopped."""

    help = "Tell the committed changes of processes that have been killed."

    def handle(self, *args: Any, **options: Any) -> None:
        """Work until SIGTERM or Ctrl+C."""
        if not is_used():
            raise CommandError(
                "There is no outbox: set TURBO['OUTBOX'], or declare a durable model."
            )
        signal.signal(signal.SIGTERM, lambda *args: sys.exit(0))
        relay.start()
        captured.start()
        self.stdout.write("Looking for changes of processes that have ended.")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            pass
        finally:
            captured.rounds.stop()
            relay.rounds.stop()
