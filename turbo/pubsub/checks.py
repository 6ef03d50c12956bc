"""System checks of pub/sub."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import FieldDoesNotExist
from django.utils.module_loading import import_string

from turbo.checks.hooks import Replaced, check_hooks
from turbo.exceptions import ConfigurationError
from turbo.pubsub.conf import PubSubSettings, get_pubsub_settings, redis_host
from turbo.pubsub.declarations import Listenable
from turbo.pubsub.watching import Listening, extra_listenings, listenings

__all__ = ["check_access", "check_declarations", "check_settings"]

#: What a project may define in a listenable model.
HOOKS = (
    "deleted_fields",
    "has_access",
    "serializer_class",
    "serializer_fields",
    "should_notify",
)
#: Methods of tg-pubsub that have no effect here.
REPLACED: Replaced = dict.fromkeys(
    ("get_serializer", "get_serializer_class", "pubsub_serialize"),
    "Set serializer_class, and write the code into the serializer.",
) | {"pubsub_get_model": "Set model_path."}


def check_settings(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check ``TURBO["PUBSUB"]``."""
    try:
        settings = get_pubsub_settings()
        has_redis = redis_host() is not None
    except ConfigurationError as error:
        hint = "Correct TURBO['PUBSUB']."
        return [Error(str(error), hint=hint, id="turbo.E030")]
    messages = list(_check_paths(settings))
    if not has_redis:
        messages.append(_no_redis())
    return messages


def check_declarations(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check the declarations of all listenable models."""
    return [message for item in _all() for message in _check(item)]


def check_access(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check, before deployment, that models restrict access if anyone may connect."""
    try:
        if get_pubsub_settings().access != "anyone":
            return []
    except ConfigurationError:
        return []
    default: Any = Listenable.has_access
    return [
        CheckWarning(
            f"Everybody who can reach pubsub_server receives changes of {item.label}.",
            hint="Define has_access(instance, user), or set TURBO['PUBSUB']['ACCESS'].",
            obj=item.model,
            id="turbo.W032",
        )
        for item in _all()
        if isinstance(item, Listening)
        and getattr(item.declaration.has_access, "__func__", None) is default.__func__
    ]


def _all() -> Iterator[Listening | str]:
    yield from listenings()
    try:
        yield from extra_listenings()
    except ConfigurationError:
        return  # check_settings() reports it


def _no_redis() -> CheckMessage:
    return CheckWarning(
        "Model changes are not published: the channel layer is not in Redis.",
        hint="Use a channel layer of channels_redis, or set "
        "TURBO['PUBSUB']['REDIS_HOSTS'].",
        id="turbo.W031",
    )


def _check_paths(settings: PubSubSettings) -> Iterator[CheckMessage]:
    for path in (settings.authenticate, *settings.hello_messages):
        try:
            usable = callable(import_string(path))
        except ImportError:
            usable = False
        if not usable:
            yield Error(
                f"TURBO['PUBSUB'] names {path!r}, which is not a function.",
                hint="Correct AUTHENTICATE or HELLO_MESSAGES.",
                id="turbo.E031",
            )


def _check(item: Listening | str) -> Iterator[CheckMessage]:
    if isinstance(item, str):
        hint = "List dotted paths of ModelListenConfig classes."
        yield Error(item, hint=hint, id="turbo.E032")
        return
    declared = item.declaration
    cls = declared if isinstance(declared, type) else type(declared)
    fields = {field.name for field in item.model._meta.get_fields()}
    yield from check_hooks(cls, HOOKS, used=fields, replaced=REPLACED)
    for name in ("should_notify", "has_access"):
        yield from _check_hook(item, name)
    if item.declaration.serializer_class is None:
        yield from _check_fields(item)
    else:
        yield from _check_serializer(item)


def _check_hook(item: Listening, name: str) -> Iterator[CheckMessage]:
    hook = getattr(item.declaration, name)
    try:
        inspect.signature(hook).bind(None, None)
        is_usable = not inspect.iscoroutinefunction(hook)
    except (TypeError, ValueError):
        is_usable = False
    if not is_usable:
        second = "action" if name == "should_notify" else "user"
        yield Error(
            f"{name}() of the listenable {item.label} cannot be called.",
            hint=f"Write it as: @classmethod def {name}(cls, instance, {second}).",
            obj=item.model,
            id="turbo.E033",
        )


def _check_serializer(item: Listening) -> Iterator[CheckMessage]:
    try:
        usable = callable(item.serializer_class)
    except ImportError:
        usable = False
    if not usable:
        yield Error(
            f"{item.label} has no usable serializer_class.",
            hint="Set a serializer of Django REST framework, or its dotted path.",
            obj=item.model,
            id="turbo.E035",
        )


def _check_fields(item: Listening) -> Iterator[CheckMessage]:
    for name in item.declaration.serializer_fields:
        if name == "pk" or hasattr(item.model, name):
            continue
        try:
            item.model._meta.get_field(name)
        except FieldDoesNotExist:
            yield Error(
                f"serializer_fields of {item.label} name {name!r}, which it does not "
                f"have.",
                hint="Use fields, properties or methods of the model, or 'pk'.",
                obj=item.model,
                id="turbo.E034",
            )
