"""System checks of the settings, each with an id and a hint."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

from turbo.checks.namespaces import check_namespaces
from turbo.conf import (
    Settings,
    get_settings,
    layer_config,
    layer_hosts,
    layer_is_of,
    layer_is_redis,
)
from turbo.connections.limits import check_limits
from turbo.exceptions import ConfigurationError
from turbo.replay import check_replay, get_replay
from turbo.replay.redis import RedisReplay
from turbo.runtime.redis.hosts import is_remote, read_hosts
from turbo.runtime.redis.options import is_first_database

__all__ = ["check_reach", "check_setup"]

#: The default prefix of channels-redis.
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
    return [
        *_check_layer(),
        *_check_server(),
        *_check_inspector(),
        *check_replay(),
        *check_namespaces(),
    ]


def check_reach(app_configs: Any = None, **kwargs: Any) -> list[CheckMessage]:
    """Check, before deployment, the allowed hosts, and what is said about Redis."""
    try:
        return [
            *_check_hosts(),
            *_check_layer_prefix(),
            *_check_replay_prefix(),
            *_check_keepalive(),
        ]
    except (ConfigurationError, ImportError, TypeError, ValueError):
        return []  # check_setup() reports errors in the settings


def _check_hosts() -> Iterator[CheckMessage]:
    if "*" in settings.ALLOWED_HOSTS and getattr(settings, "ASGI_APPLICATION", None):
        yield Warning(
            "ALLOWED_HOSTS has '*', so WebSockets are accepted from every site whose "
            "domain points to this server, and from programs that send no Origin.",
            hint="List the hosts of this site in ALLOWED_HOSTS.",
            id="turbo.W015",
        )


def _check_layer_prefix() -> Iterator[CheckMessage]:
    config = layer_config().get("CONFIG", {})
    if not layer_is_redis() or config.get("prefix", LAYER_PREFIX) != LAYER_PREFIX:
        return
    # Pub/sub of Redis has no databases.
    if layer_is_of("channels_redis.pubsub") or is_first_database(layer_hosts()):
        yield Warning(
            f"The prefix of the channel layer is {LAYER_PREFIX!r}, the default. "
            f"If another project on the same Redis also has it, both projects get "
            f"each other's messages.",
            hint='Set "prefix" in the CONFIG of the layer to a name of this project, '
            "or silence the check if no other project uses that Redis.",
            id="turbo.W022",
        )


def _check_replay_prefix() -> Iterator[CheckMessage]:
    prefix = get_settings().replay_prefix
    if not isinstance(get_replay(), RedisReplay) or prefix != Settings().replay_prefix:
        return
    if is_first_database(RedisReplay.options()["hosts"]):
        yield Warning(
            f"The prefix of the replay log is {prefix!r}, the default. If another "
            f"project in the same Redis database also has it, both projects read each "
            f"other's messages and revocations.",
            hint="Set TURBO['REPLAY_PREFIX'] to a name of this project, or silence the "
            "check if no other project uses that Redis.",
            id="turbo.W022",
        )


def _check_keepalive() -> Iterator[CheckMessage]:
    if not layer_is_redis():
        return
    hosts = read_hosts(layer_hosts(), owner="The channel layer's hosts")
    if any(is_remote(host) and "socket_keepalive" not in host for host in hosts):
        yield Warning(
            "The channel layer's Redis is on another machine, and nothing finds out if "
            "the network loses a connection to it.",
            hint='Set "socket_keepalive" and "socket_keepalive_options" for each host, '
            "as in the documentation on deployment.",
            id="turbo.W023",
        )


def _no_layer() -> CheckMessage:
    return Error(
        f"CHANNEL_LAYERS has no entry {get_settings().channel_layer!r}, so nothing can "
        f"be broadcast.",
        hint="Add channels.layers.InMemoryChannelLayer for one process, or for several "
        "channels_redis.core.RedisChannelLayer or turbo.database.layer.DatabaseLayer.",
        id="turbo.E001",
    )


def _check_layer() -> Iterator[CheckMessage]:
    config = layer_config()
    backend = str(config.get("BACKEND", ""))
    if backend.endswith("InMemoryChannelLayer") and _several_processes():
        yield Warning(
            "InMemoryChannelLayer does not reach other processes, and this project "
            "seems to run in several.",
            hint="Use channels_redis.core.RedisChannelLayer, or without Redis "
            "turbo.database.layer.DatabaseLayer.",
            id="turbo.W002",
        )
    if backend == "channels_redis.core.RedisChannelLayer":
        yield from _check_timeouts(config.get("CONFIG", {}).get("hosts", [None]))


def _several_processes() -> bool:
    # The test runner turns DEBUG off, too, and allows this host.
    is_deployed = not settings.DEBUG and "testserver" not in settings.ALLOWED_HOSTS
    return is_deployed or int(os.environ.get("WEB_CONCURRENCY") or 1) > 1


def _check_timeouts(hosts: Sequence[Any]) -> Iterator[CheckMessage]:
    if any(
        not isinstance(host, dict) or "socket_timeout" not in host for host in hosts
    ):
        yield Warning(
            "RedisChannelLayer waits 5 s for a message, and the timeout of redis-py is "
            "also 5 s, so quiet connections end with TimeoutError.",
            hint='Write each host as {"address": "redis://…", "socket_timeout": None}.',
            id="turbo.W008",
        )


def _check_inspector() -> Iterator[CheckMessage]:
    given = get_settings().inspector
    if given not in (None, "staff"):
        yield Error(
            f"TURBO['INSPECTOR'] is {given!r}, so nobody may see the inspector.",
            hint='Set it to "staff", or leave it out.',
            id="turbo.E025",
        )
    elif given and not apps.is_installed("turbo.inspector"):
        yield Warning(
            "TURBO['INSPECTOR'] is set, and the inspector is not installed.",
            hint='Add "turbo.inspector" to INSTALLED_APPS.',
            id="turbo.W026",
        )


def _check_server() -> Iterator[CheckMessage]:
    if not getattr(settings, "ASGI_APPLICATION", None):
        yield Warning(
            "ASGI_APPLICATION is not set, so runserver serves no WebSockets.",
            hint='Set it to "<project>.asgi.application".',
            id="turbo.W004",
        )
    installed = list(settings.INSTALLED_APPS)
    static = "django.contrib.staticfiles"
    if "daphne" not in installed:
        yield Warning(
            "daphne is not in INSTALLED_APPS, so runserver serves no WebSockets.",
            hint='Add "daphne" before "django.contrib.staticfiles".',
            id="turbo.W003",
        )
    elif static in installed and installed.index("daphne") > installed.index(static):
        yield Warning(
            "daphne comes after django.contrib.staticfiles in INSTALLED_APPS, so "
            "runserver serves no WebSockets.",
            hint='Put "daphne" first.',
            id="turbo.W003",
        )
