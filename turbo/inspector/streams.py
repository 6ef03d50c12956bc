"""The stream by which the inspector's page keeps itself up to date."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from turbo.delivery.hub import subscribers
from turbo.delivery.names import stream_id
from turbo.streams.stream import Stream

__all__ = ["Inspection"]


class Inspection(Stream):
    """What the inspector shows; it carries page refreshes and nothing else."""

    class Meta:
        app_label = "turbo_inspector"  # asked for before the apps are loaded

    def user_passes_test(self, user: Any) -> bool:
        """Let in whoever holds a name, which only the page itself gives away."""
        return bool(settings.DEBUG)

    @classmethod
    def changed(cls) -> None:
        """Refresh the pages of the inspector, if this process serves any."""
        if subscribers()[stream_id(cls.label)]:
            cls().refresh()
