"""The settings of the observers: ``TURBO["OBSERVERS"]``, read as one frozen object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.utils.module_loading import import_string

from turbo.conf import section_reader
from turbo.observers.permissions import AllowAny

__all__ = ["ObserverSettings", "get_observer_settings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserverSettings:
    """Every key of ``TURBO["OBSERVERS"]``, in lower case, with its default."""

    #: Asked by consumers that name no permissions; classes, or dotted paths of some.
    permission_classes: Sequence[Any] = (AllowAny,)
    #: Entries of a list that can be subscribed to, and of a page of one.
    max_list: int = 10_000


def _import_classes(settings: ObserverSettings) -> ObserverSettings:
    classes = tuple(
        import_string(item) if isinstance(item, str) else item
        for item in settings.permission_classes
    )
    return replace(settings, permission_classes=classes)


get_observer_settings = section_reader("OBSERVERS", ObserverSettings, _import_classes)
