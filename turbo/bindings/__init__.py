"""
Querysets that stay in the cache and are always right.

Put ``"turbo.bindings"`` into ``INSTALLED_APPS``; declare bindings in ``bindings.py``.
"""

from __future__ import annotations

from turbo.bindings.binding import Binding

__all__ = ["Binding"]
