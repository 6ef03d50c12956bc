"""The settings of the observers: ``TURBO["OBSERVERS"]``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.utils.module_loading import import_string

from turbo.conf import get_settings, read_section
from turbo.observers.permissions import AllowAny

__all__ = ["ObserverSettings", "get_options"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserverSettings:
    """Every key of ``TURBO["OBSERVERS"]``, in lower case, with its default."""

    #: Asked by consumers that name no permissions; classes, or dotted paths of some.
    permission_classes: Sequence[Any] = (AllowAny,)
    #: Entries of a list that can be subscribed to, and of a page of one.
    max_list: int = 10_000


def get_options() -> ObserverSettings:
    """Return the settings in force."""
    return _options(get_settings().observers)


_cached: tuple[Mapping[str, Any], ObserverSettings] | None = None


def _options(given: Mapping[str, Any]) -> ObserverSettings:
    global _cached
    if _cached is None or _cached[0] is not given:
        _cached = given, _parse(given)
    return _cached[1]


def _parse(given: Mapping[str, Any]) -> ObserverSettings:
    options = read_section("TURBO['OBSERVERS']", given, ObserverSettings)
    classes = tuple(
        import_string(item) if isinstance(item, str) else item
        for item in options.permission_classes
    )
    return replace(options, permission_classes=classes)
