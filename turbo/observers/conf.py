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

    #: Permissions of consumers that set none; classes, or their dotted paths.
    permission_classes: Sequence[Any] = (AllowAny,)
    #: The most objects in a list that clients subscribe to, and in a page of a list.
    max_list: int = 10_000


def _import_classes(settings: ObserverSettings) -> ObserverSettings:
    classes = tuple(
        import_string(item) if isinstance(item, str) else item
        for item in settings.permission_classes
    )
    return replace(settings, permission_classes=classes)


get_observer_settings = section_reader("OBSERVERS", ObserverSettings, _import_classes)
