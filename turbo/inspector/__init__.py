"""
The inspector: in development, a page and a toolbar panel that show what is going on.

It looks on through :mod:`turbo.delivery.recorders` and :data:`turbo.metrics.counted`,
and only while ``DEBUG`` is on: without it nothing is connected, and its page is not
found.
"""

from __future__ import annotations
