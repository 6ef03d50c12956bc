"""System checks: what can be known at start, with an id and a hint."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import FieldDoesNotExist

from turbo.conf import get_settings, layer_config
from turbo.exceptions import ConfigurationError
from turbo.model_streams import ModelStream, StreamDescriptor
from turbo.registry import stream_classes
from turbo.replay import get_replay

__all__ = ["check_permissions", "check_setup", "check_streams"]


def check_setup(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check the settings, the channel layer and the server."""
    try:
        get_settings()
    except ConfigurationError as error:
        return [Error(str(error), hint="Correct the TURBO setting.", id="turbo.E009")]
    if not layer_config():
        return [_no_layer()]
    return [*_check_layer(), *_check_server(), *get_replay().check()]


def check_streams(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the declared streams do not stand in each other's way."""
    streams = [cls for cls in stream_classes() if issubclass(cls, ModelStream)]
    return [message for cls in streams for message in _check_attribute(cls)]


def check_permissions(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check, before deployment, that every model stream says who may see it."""
    return [
        Warning(
            f"{cls.label} does not say who may see it: everybody may.",
            hint="Define user_passes_test(self, user), if only to return True.",
            obj=cls,
            id="turbo.W007",
        )
        for cls in stream_classes()
        if issubclass(cls, ModelStream) and not cls.tests_user()
    ]


def _no_layer() -> CheckMessage:
    return Error(
        f"CHANNEL_LAYERS has no entry {get_settings().channel_layer!r}, so nothing can "
        f"be broadcast.",
        hint="Add channels.layers.InMemoryChannelLayer for one process, or "
        "channels_redis.core.RedisChannelLayer for several.",
        id="turbo.E001",
    )


def _check_layer() -> Iterator[CheckMessage]:
    config = layer_config()
    backend = str(config.get("BACKEND", ""))
    if backend.endswith("InMemoryChannelLayer") and _several_processes():
        yield Warning(
            "InMemoryChannelLayer does not reach other processes, and this project "
            "seems to run in several.",
            hint="Use channels_redis.core.RedisChannelLayer.",
            id="turbo.W002",
        )
    if backend == "channels_redis.core.RedisChannelLayer":
        yield from _check_timeouts(config.get("CONFIG", {}).get("hosts", [None]))


def _several_processes() -> bool:
    return not settings.DEBUG or int(os.environ.get("WEB_CONCURRENCY") or 1) > 1


def _check_timeouts(hosts: Sequence[Any]) -> Iterator[CheckMessage]:
    if any(not isinstance(host, dict) or "socket_timeout" not in host for host in hosts):
        yield Warning(
            "RedisChannelLayer waits 5 s for a message, and so does redis-py before it "
            "gives up: quiet connections end with TimeoutError.",
            hint='Give each host as {"address": "redis://…", "socket_timeout": None}.',
            id="turbo.W008",
        )


def _check_server() -> Iterator[CheckMessage]:
    if not getattr(settings, "ASGI_APPLICATION", None):
        yield Warning(
            "ASGI_APPLICATION is not set, so runserver serves no WebSockets.",
            hint='Set it to "<project>.asgi.application".',
            id="turbo.W004",
        )
    apps = list(settings.INSTALLED_APPS)
    static = "django.contrib.staticfiles"
    if "daphne" not in apps:
        yield Warning(
            "daphne is not in INSTALLED_APPS, so runserver serves no WebSockets.",
            hint='Add "daphne" before "django.contrib.staticfiles".',
            id="turbo.W003",
        )
    elif static in apps and apps.index("daphne") > apps.index(static):
        yield Warning(
            "daphne comes after django.contrib.staticfiles in INSTALLED_APPS, so "
            "runserver serves no WebSockets.",
            hint='Put "daphne" first.',
            id="turbo.W003",
        )


def _check_attribute(cls: type[ModelStream]) -> Iterator[CheckMessage]:
    model, attribute = cls.options.model, cls.options.attribute
    current = inspect.getattr_static(model, attribute, None)
    if isinstance(current, StreamDescriptor):
        if current.stream_class is not cls:
            yield Error(
                f"{cls.label} and {current.stream_class.label} both want to be "
                f"{model._meta.label}.{attribute}.",
                hint="Give one of them a Meta.attribute of its own.",
                obj=cls,
                id="turbo.E005",
            )
        return
    try:
        kind = type(model._meta.get_field(attribute)).__name__
    except FieldDoesNotExist:
        kind = "attribute"
    yield Error(
        f"{model._meta.label} has a {kind} called {attribute!r}, where {cls.label} "
        f"wants to be.",
        hint="Give the stream another Meta.attribute.",
        obj=cls,
        id="turbo.E006",
    )
