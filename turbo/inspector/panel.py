"""
The panel for django-debug-toolbar: the broadcasts of a request, and the report.

Add it to ``DEBUG_TOOLBAR_PANELS``. Nothing else imports this module, so projects
without the panel do not need the toolbar.
"""

from __future__ import annotations

from contextlib import ExitStack
from contextvars import ContextVar
from typing import Any

from debug_toolbar.panels import Panel
from django.http import HttpRequest, HttpResponse

from turbo.delivery.recorders import recording
from turbo.inspector.history import history, shown
from turbo.inspector.report import report

__all__ = ["TurboPanel"]

_current: ContextVar[object] = ContextVar("turbo.inspector.panel", default=None)


class TurboPanel(Panel):
    """The broadcasts of a request, and the report on its process."""

    title = "Turbo Streams"
    template = "turbo/inspector/panel.html"
    is_async = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stack = ExitStack()
        self._sent: list[tuple[str, str]] = []

    @property
    def nav_subtitle(self) -> str:
        """Return the number of broadcasts of this request, as a text."""
        number = len(self.get_stats().get("sent", ()))
        return f"{number} broadcast{'' if number == 1 else 's'}"

    def enable_instrumentation(self) -> None:
        """Start recording the broadcasts of this request."""
        self._stack.close()
        self._stack.callback(_current.set, _current.get())
        _current.set(self)
        self._stack.enter_context(recording(self._record))

    def disable_instrumentation(self) -> None:
        """Stop recording."""
        self._stack.close()

    def generate_stats(self, request: HttpRequest, response: HttpResponse) -> None:
        """Store the content of the panel, in a form that the toolbar can serialise."""
        self.record_stats({"sent": self._sent, **report(history)})

    def _record(self, name: str, data: str) -> None:
        if _current.get() is self:
            self._sent.append((name, shown(data)))
