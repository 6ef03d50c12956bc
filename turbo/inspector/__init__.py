"""
The inspector: a page and a toolbar panel that show broadcasts during development.

It uses :mod:`turbo.delivery.recorders` and :data:`turbo.metrics.counted`, but only if
``DEBUG`` is on. Otherwise nothing is connected, and its page responds with 404.
"""

from __future__ import annotations
