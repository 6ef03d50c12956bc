"""System checks of the observers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

from django.core.checks import CheckMessage, Error, Warning

from turbo.checks.declarations import load_urls
from turbo.checks.hooks import Replaced, check_hooks
from turbo.exceptions import ConfigurationError
from turbo.observers.conf import ObserverSettings, get_observer_settings
from turbo.observers.consumers import AsyncAPIConsumer
from turbo.observers.multiplexer import Multiplexer

__all__ = ["check_names", "check_options", "check_permissions"]

C = TypeVar("C")

OWN = "turbo."

#: What a project may define in a consumer.
HOOKS = (
    "filter_backends",
    "get_permissions",
    "get_queryset",
    "get_serializer_class",
    "lookup_field",
    "lookup_url_kwarg",
    "pagination_class",
    "permission_classes",
    "queryset",
    "serializer_class",
)


#: Methods of Channels and DCRF that nothing calls here.
REPLACED: Replaced = {
    "dispatch": "Override websocket_connect(), receive() or websocket_disconnect(); "
    "messages of groups call the method with the name of their type.",
    "handle_detached_task_completion": "Write the code into the coroutine itself.",
}


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


def check_names(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that consumers define nothing that nothing reads, besides actions."""
    load_urls()
    messages: list[CheckMessage] = []
    for cls in _consumers(AsyncAPIConsumer):
        used = cls.available_actions.values()
        messages += check_hooks(cls, HOOKS, used=used, replaced=REPLACED)
    for multiplexer in _consumers(Multiplexer):
        messages += check_hooks(multiplexer, ["consumers"])
    return messages


def _consumers(base: type[C]) -> Iterator[type[C]]:
    """Yield the project's consumers, without those that others inherit from."""
    for cls in base.__subclasses__():
        if cls.__subclasses__():
            yield from _consumers(cls)
        elif not cls.__module__.startswith(OWN):
            yield cls
