"""
Querysets that are kept in the cache and are always up to date.

Put ``"turbo.bindings"`` into ``INSTALLED_APPS``; declare bindings in ``bindings.py``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from turbo.bindings.binding import Binding
from turbo.bindings.cache.notify import send_to_group
from turbo.bindings.consumers import BindingConsumer

if TYPE_CHECKING:
    from turbo.bindings.viewsets import BoundModelViewSet

__all__ = ["Binding", "BindingConsumer", "BoundModelViewSet", "send_to_group"]


def __getattr__(name: str) -> Any:
    # Load Django REST framework only for projects that use it.
    if name == "BoundModelViewSet":
        return import_module("turbo.bindings.viewsets").BoundModelViewSet
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
