"""``manage.py turbo_streams``: list the streams and their permissions."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from turbo import metrics
from turbo.streams.model_streams import ModelStream
from turbo.streams.registry import stream_classes
from turbo.streams.stream import Stream

__all__ = ["Command"]

HEADER = ("STREAM", "MODEL", "ATTRIBUTE", "PERMISSION", "BROADCASTS", "OPTIONS")


class Command(BaseCommand):
    """List the streams of all installed apps."""

    help = (
        "List the streams with their model, attribute, permission, broadcasts, "
        "audiences, presence and whispers."
    )

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
    model, attribute, broadcasts = "", "", ""
    if issubclass(cls, ModelStream):
        model, attribute = cls.options.model._meta.label, cls.options.attribute
        broadcasts = _conventions(cls)
    row = (cls.label, model, attribute, permission, broadcasts, _options(cls))
    return tuple(cell or "-" for cell in row)


def _options(cls: type[Stream]) -> str:
    options = cls.options
    parts = [f"audiences {' '.join(options.audiences)}"] if options.audiences else []
    parts += ["presence"] if options.presence else []
    parts += [f"whispers {' '.join(options.whispers)}"] if options.whispers else []
    return ", ".join(parts)


def _conventions(cls: type[ModelStream]) -> str:
    parts = ["refreshes"] if cls.options.refreshes else []
    if cls.broadcasts():
        parts.append(f"to {cls.options.broadcasts_to or 'get_broadcast_streams()'}")
    hooks = [hook for hook in ("on_save", "on_delete") if hasattr(cls, hook)]
    return ", ".join(parts + hooks)
