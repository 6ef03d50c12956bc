"""
Seeing a site run: traces and metrics of messages, from a save to the sockets.

Add ``"turbo.telemetry"`` to ``INSTALLED_APPS``; it needs the extra ``telemetry``.
Without the app, nothing of it is imported, and messages carry nothing more.
"""

from __future__ import annotations
