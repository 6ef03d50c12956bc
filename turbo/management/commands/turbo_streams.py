"""``manage.py turbo_streams``: list the streams and their permissions."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from turbo import metrics
from turbo.streams.model_streams import ModelStream
from turbo.streams.registry import stream_classes
from turbo.streams.stream import Stream

__all__ = ["Command"]

HEADER = ("STREAM", "MODEL", "ATTRIBUTE", "PERMISSION", "BROADCASTS")


class Command(BaseCommand):
    """List the streams of all installed apps."""

    help = "List the streams with their model, attribute, permission and broadcasts."

    def handle(self, *args: Any, **options: Any) -> None:
        """Print a line for each stream class."""
        rows = [HEADER, *map(_row, stream_classes())]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = zip(row, widths, strict=True)
            line = "  ".join(cell.ljust(width) for cell, width in cells)
            self.stdout.write(line.rstrip())
        counted = metrics.counters()
        self.stdout.write(
            f"\nSubscribers in this process: {counted.get('subscribers', 0)}. "
            f"Each server process counts its own; see turbo.counters()."
        )


def _row(cls: type[Stream]) -> tuple[str, ...]:
    permission = "tested" if cls.tests_user() else "public"
    if not issubclass(cls, ModelStream):
        return (cls.label, "-", "-", permission, "-")
    options = cls.options
    return (
        cls.label,
        options.model._meta.label,
        options.attribute,
        permission,
        _conventions(cls) or "-",
    )


def _conventions(cls: type[ModelStream]) -> str:
    parts = ["refreshes"] if cls.options.refreshes else []
    if cls.broadcasts():
        parts.append(f"to {cls.options.broadcasts_to or 'get_broadcast_streams()'}")
    hooks = [hook for hook in ("on_save", "on_delete") if hasattr(cls, hook)]
    return ", ".join(parts + hooks)
