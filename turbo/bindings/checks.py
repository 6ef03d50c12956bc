"""System checks of the bindings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Warning

from turbo.bindings.cache.declaration import Declaration
from turbo.bindings.cache.registry import classes
from turbo.bindings.conf import BindingSettings, get_binding_settings
from turbo.bindings.consumers import consumer_classes
from turbo.bindings.store import get_store
from turbo.bindings.store.redis import RedisStore
from turbo.checks.declarations import load_urls
from turbo.checks.hooks import Replaced, check_hooks
from turbo.conf import layer_hosts
from turbo.exceptions import ConfigurationError
from turbo.runtime.redis.options import is_first_database

__all__ = [
    "check_consumers",
    "check_names",
    "check_prefix",
    "check_querysets",
    "check_store",
]

#: What a project may define in a binding, and in a consumer.
HOOKS = (
    "depends_on",
    "excludes",
    "filters",
    "get_excludes",
    "get_filters",
    "get_q",
    "get_queryset",
    "params",
    "revision",
    "serializer_class",
    "using",
)
CONSUMER_HOOKS = (
    "binding",
    "event",
    "get_binding",
    "get_groups",
    "groups",
    "page_size",
    "user_passes_test",
)

_ROWS = "Choose the rows with filters, get_q() or get_queryset()."
_KEYS = "Rows have their primary keys; look up others with all()."
_CHANGES = "Watch the model with turbo.changes.watch()."
_STORE = "Configure the store in TURBO['BINDINGS']."

#: Methods and attributes of django-binding that have no effect here.
REPLACED: Replaced = {
    "cache_name": _STORE,
    "create_meta_cache": _STORE,
    "create_object_cache": _STORE,
    "delete_instance": _CHANGES,
    "get_instance_key": _KEYS,
    "get_lookup_field": _KEYS,
    "message": "Write on_save and on_delete of a model stream.",
    "model_deleted": _CHANGES,
    "model_matches": _ROWS,
    "model_saved": _CHANGES,
    "save_instance": _CHANGES,
    "save_many_instances": _CHANGES,
    "serialize_object": "Set serializer_class.",
}
CONSUMER_REPLACED: Replaced = {
    "get_user_group": "Set groups, or write get_groups().",
    "group": "Set groups, or write get_groups().",
    "serialize_message": "Set the serializer_class of the binding.",
}


def check_store(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check ``TURBO["BINDINGS"]`` without connecting to the store."""
    try:
        get_store()
    except (ConfigurationError, ImportError) as error:
        hint = "Correct TURBO['BINDINGS']."
        return [Error(str(error), hint=hint, id="turbo.E060")]
    return []


def check_querysets(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the rows of each binding can be read one by one."""
    return [message for cls in classes() for message in _check_queryset(cls)]


def check_names(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that bindings and their consumers define nothing that nothing reads."""
    load_urls()
    messages: list[CheckMessage] = []
    for cls in classes():
        messages += check_hooks(cls, HOOKS, replaced=REPLACED)
    for consumer in consumer_classes():
        messages += check_hooks(consumer, CONSUMER_HOOKS, replaced=CONSUMER_REPLACED)
    return messages


def check_consumers(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check, before deployment, that every consumer tests its users."""
    return [
        Warning(
            f"{cls.__module__}.{cls.__qualname__} does not define who may listen, "
            f"so everybody may.",
            hint="Define user_passes_test(self, user); return True if everybody may "
            "listen.",
            obj=cls,
            id="turbo.W062",
        )
        for cls in consumer_classes()
        if not cls.tests_user()
    ]


def check_prefix(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check, before deployment, that no other project shares the Redis keys."""
    settings = get_binding_settings()
    try:
        is_in_redis = isinstance(get_store(), RedisStore)
        if not is_in_redis or settings.prefix != DEFAULT_PREFIX:
            return []
        hosts = settings.hosts or layer_hosts()
        if not is_first_database(hosts):
            return []
    except (ConfigurationError, ImportError, TypeError, ValueError):
        return []  # check_store reports errors in the settings
    return [
        Warning(
            f"The prefix of the bindings is {settings.prefix!r}, the default. Another "
            f"project in the same Redis database may have it too, and both would read "
            f"each other's rows.",
            hint="Set TURBO['BINDINGS']['PREFIX'] to a name of this project, or "
            "silence the check if no other project uses that Redis.",
            id="turbo.W063",
        )
    ]


DEFAULT_PREFIX = BindingSettings().prefix


def _check_queryset(cls: type[Declaration]) -> Iterator[CheckMessage]:
    if cls.params or cls.model in cls.depends_on:
        return
    query = cls().get_queryset().query
    if query.is_sliced or query.combinator:
        yield Error(
            f"{cls.label} cannot tell whether one row is in its queryset, which is a "
            f"slice or a union.",
            hint=f"Name the model itself: depends_on = [{cls.model.__name__}].",
            obj=cls,
            id="turbo.E061",
        )
