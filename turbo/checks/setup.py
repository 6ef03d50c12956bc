"""System checks: what can be known at start, with an id and a hint."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import FieldDoesNotExist
from django.template import TemplateDoesNotExist, TemplateSyntaxError
from django.template.loader import get_template

from turbo.conf import Settings, get_settings, layer_config
from turbo.connections.limits import check_limits
from turbo.exceptions import ConfigurationError
from turbo.replay import check_replay, get_replay
from turbo.replay.redis import RedisReplay
from turbo.replay.selection import layer_is_of, layer_is_redis
from turbo.runtime.redis.aclients import is_first_database
from turbo.streams.conventions import INSERTS, parent_field, parent_stream_class
from turbo.streams.model_streams import ModelStream, StreamDescriptor
from turbo.streams.options import Options
from turbo.streams.registry import stream_classes

__all__ = ["check_permissions", "check_reach", "check_setup", "check_streams"]

#: What channels-redis takes where no prefix is given.
LAYER_PREFIX = "asgi"


def check_setup(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check the settings, the channel layer and the server."""
    try:
        get_settings()
        check_limits()
    except ConfigurationError as error:
        return [Error(str(error), hint="Correct the TURBO setting.", id="turbo.E009")]
    if not layer_config():
        return [_no_layer()]
    return [*_check_layer(), *_check_server(), *check_replay()]


def check_streams(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the declared streams do not stand in each other's way."""
    streams = [cls for cls in stream_classes() if issubclass(cls, ModelStream)]
    checks = (
        _check_attribute,
        _check_parent,
        _check_inserts,
        _check_template,
        _check_unused,
    )
    return [message for cls in streams for check in checks for message in check(cls)]


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


def check_reach(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check, before deployment, which hosts are served and who may share the Redis."""
    try:
        return [*_check_hosts(), *_check_layer_prefix(), *_check_replay_prefix()]
    except (ConfigurationError, ImportError, TypeError, ValueError):
        return []  # check_setup says what is wrong with the settings


def _check_hosts() -> Iterator[CheckMessage]:
    if "*" in settings.ALLOWED_HOSTS and getattr(settings, "ASGI_APPLICATION", None):
        yield Warning(
            "ALLOWED_HOSTS has '*', so a WebSocket is taken from every site whose name "
            "leads to this server, and from programs that name no Origin.",
            hint="Name the hosts of this site in ALLOWED_HOSTS.",
            id="turbo.W015",
        )


def _check_layer_prefix() -> Iterator[CheckMessage]:
    config = layer_config().get("CONFIG", {})
    if not layer_is_redis() or config.get("prefix", LAYER_PREFIX) != LAYER_PREFIX:
        return
    # Pub/sub of Redis knows no databases.
    if layer_is_of("channels_redis.pubsub") or is_first_database(config.get("hosts")):
        yield Warning(
            f"The prefix of the channel layer is {LAYER_PREFIX!r}, the default. "
            f"Another project on the same Redis may have it too, and both would hear "
            f"each other's messages.",
            hint='Give the layer a "prefix" of this project in its CONFIG, or silence '
            "the check if no other project uses that Redis.",
            id="turbo.W022",
        )


def _check_replay_prefix() -> Iterator[CheckMessage]:
    prefix = get_settings().replay_prefix
    if not isinstance(get_replay(), RedisReplay) or prefix != Settings().replay_prefix:
        return
    if is_first_database(RedisReplay.options()["hosts"]):
        yield Warning(
            f"The prefix of the replay log is {prefix!r}, the default. Another project "
            f"in the same Redis database may have it too, and both would read each "
            f"other's messages and revocations.",
            hint="Set TURBO['REPLAY_PREFIX'] to a name of this project, or silence the "
            "check if no other project uses that Redis.",
            id="turbo.W022",
        )


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
    if any(
        not isinstance(host, dict) or "socket_timeout" not in host for host in hosts
    ):
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


def _check_parent(cls: type[ModelStream]) -> Iterator[CheckMessage]:
    model, name = cls.options.model, cls.options.broadcasts_to
    if not name or cls.finds_streams_itself():
        return
    try:
        field = parent_field(model, name)
    except ConfigurationError as error:
        yield Error(
            f"{cls.label}.Meta.broadcasts_to is {name!r}. {error}",
            hint="Name a foreign key, or define get_broadcast_streams(self).",
            obj=cls,
            id="turbo.E010",
        )
        return
    if isinstance(field.related_model, str):
        return  # of an abstract model: each that inherits it has its own
    try:
        parent_stream_class(field)
    except ConfigurationError as error:
        yield Error(
            f"{cls.label}.Meta.broadcasts_to is {name!r}. {error}",
            hint="Declare a ModelStream for that model in a streams.py.",
            obj=cls,
            id="turbo.E011",
        )


def _check_inserts(cls: type[ModelStream]) -> Iterator[CheckMessage]:
    if cls.options.inserts_by not in INSERTS:
        yield Error(
            f"{cls.label}.Meta.inserts_by is {cls.options.inserts_by!r}.",
            hint=f"Use one of {', '.join(map(repr, INSERTS))}.",
            obj=cls,
            id="turbo.E012",
        )


def _check_template(cls: type[ModelStream]) -> Iterator[CheckMessage]:
    own = cls.get_broadcast_template is not ModelStream.get_broadcast_template
    if own or cls.options.refreshes or not cls.broadcasts():
        return
    if cls.options.model._meta.abstract:
        return  # each model has its own
    name = str(cls.from_instance(cls.options.model()).get_broadcast_template())
    try:
        get_template(name)
    except (TemplateDoesNotExist, TemplateSyntaxError) as error:
        problem = f"{type(error).__name__}: {error}"
        yield Error(
            f"{cls.label} broadcasts {name!r}, which does not load. {problem}",
            hint="Write that template, or name another in Meta.template.",
            obj=cls,
            id="turbo.E013",
        )


def _check_unused(cls: type[ModelStream]) -> Iterator[CheckMessage]:
    if cls.broadcasts() and not cls.options.refreshes:
        return
    defaults = Options()
    for name in ("template", "target", "inserts_by"):
        if getattr(cls.options, name) != getattr(defaults, name):
            yield Warning(
                f"{cls.label}.Meta.{name} has no effect: nothing is inserted.",
                hint="Set Meta.broadcasts_to, without Meta.refreshes.",
                obj=cls,
                id="turbo.W014",
            )
