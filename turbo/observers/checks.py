"""System checks of the observers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Warning

from turbo.exceptions import ConfigurationError
from turbo.observers.conf import ObserverSettings, get_observer_settings
from turbo.observers.consumers import AsyncAPIConsumer

__all__ = ["check_options", "check_permissions"]

OWN = "turbo."


def check_options(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check ``TURBO["OBSERVERS"]``."""
    try:
        get_observer_settings()
    except (ConfigurationError, ImportError) as error:
        hint = "Correct TURBO['OBSERVERS']."
        return [Error(str(error), hint=hint, id="turbo.E050")]
    return []


def check_permissions(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check, before deployment, that every consumer sets its permissions."""
    if (
        get_observer_settings().permission_classes
        != ObserverSettings().permission_classes
    ):
        return []
    return [
        Warning(
            f"{cls.__module__}.{cls.__qualname__} does not define who may use it, "
            f"so everybody may.",
            hint="Set permission_classes; use [AllowAny] if everybody may use it.",
            obj=cls,
            id="turbo.W051",
        )
        for cls in _consumers(AsyncAPIConsumer)
        if cls.permission_classes is None
    ]


def _consumers(base: type[AsyncAPIConsumer]) -> Iterator[type[AsyncAPIConsumer]]:
    """Yield the project's consumers, without those that others inherit from."""
    for cls in base.__subclasses__():
        if cls.__subclasses__():
            yield from _consumers(cls)
        elif not cls.__module__.startswith(OWN):
            yield cls
