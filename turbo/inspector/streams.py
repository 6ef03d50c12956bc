"""The stream that keeps the inspector's page up to date."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from turbo.delivery.hub import subscribers
from turbo.streams.stream import Stream

__all__ = ["Inspection"]


class Inspection(Stream):
    """The stream of the inspector's page, which carries only page refreshes."""

    class Meta:
        app_label = "turbo_inspector"  # needed before the apps are loaded

    def user_passes_test(self, user: Any) -> bool:
        """Allow everyone who has a signed name, which only the page itself contains."""
        return bool(settings.DEBUG)

    @classmethod
    def changed(cls) -> None:
        """Refresh the inspector's pages, if this process serves any."""
        stream = cls()
        if subscribers()[stream.stream_id]:
            stream.refresh()
