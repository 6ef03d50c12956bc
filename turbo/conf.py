"""
The settings: the dict ``TURBO`` as a frozen object, with one object for each section.

Nothing is read at import time. :func:`get_settings` and the functions that
:func:`section_reader` returns read the settings on the first call and again after
``setting_changed``, so ``override_settings(TURBO={…})`` works in tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from turbo.exceptions import ConfigurationError

__all__ = [
    "Settings",
    "get_settings",
    "layer_config",
    "layer_hosts",
    "layer_is_of",
    "layer_is_redis",
    "section_reader",
]

T = TypeVar("T")
_EMPTY: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The keys of ``TURBO``, in lower case, with their defaults."""

    #: Alias in ``CHANNEL_LAYERS`` of the layer for broadcasts.
    channel_layer: str = "default"
    #: Path of the WebSocket, which pages connect to.
    websocket_path: str = "/ws/"
    #: Path of event streams, if the URL of ``turbo.urls`` cannot be reversed.
    sse_path: str = "/turbo/sse/"
    #: Seconds for which a signed name is valid.
    signed_name_max_age: int = 86_400
    #: Seconds between two tests of streams that override ``user_passes_test``.
    recheck_interval: float = 60.0
    #: Threads for permission tests that take long.
    permission_threads: int = 4
    #: Bytes that may wait for one subscriber before it is closed as slow.
    queue_bytes: int = 1_048_576
    #: Bytes of one frame from a client.
    max_frame_bytes: int = 65_536
    #: Subscriptions of one connection.
    max_streams: int = 100
    #: Characters of a stream's name.
    max_name_length: int = 512
    #: Dotted path of the replay log; the default depends on the channel layer.
    replay_backend: str | None = None
    #: Redis hosts of the replay log; ``None`` uses the channel layer's.
    replay_hosts: Any = None
    #: Messages kept per stream.
    replay_length: int = 100
    #: Seconds for which a message is kept.
    replay_age: int = 300
    #: Seconds for which growing text is kept after the last write.
    text_age: int = 3_600
    #: Prefix of every Redis key.
    replay_prefix: str = "turbo"
    #: Function that returns the namespace of the moment, such as the tenant's name.
    namespace: Any = None
    #: Function that returns a context manager, which enters a namespace in a thread.
    enter_namespace: Any = None
    #: Function that returns the namespace of a WebSocket, from its ASGI scope.
    find_namespace: Any = None
    #: Alias of the database for what ``turbo.database`` keeps there.
    database: str = "default"
    #: Whether the changes of all watched models outlive the process that made them.
    outbox: bool = False
    #: Seconds between two comparisons of received messages with sent ones.
    tip_interval: float = 15.0
    #: The most broadcasts that wait; if there are more, the oldest is dropped.
    publish_queue: int = 10_000
    #: Seconds that a process waits at its end for unsent broadcasts.
    flush_timeout: float = 5.0
    #: Seconds in which a user whose last page has gone may come back to a stream.
    presence_grace: float = 5.0
    #: Seconds after which the users of a process that was killed count as gone.
    presence_expiry: float = 60.0
    #: Seconds between two pings of an idle connection.
    heartbeat: float = 25.0
    #: Seconds between two page refreshes of one stream.
    refresh_interval: float = 0.5
    #: The longest time in seconds that a refresh waits for further ones.
    refresh_max_wait: float = 2.0
    #: ``"staff"``: staff see names and counts of all processes in the inspector.
    inspector: str | None = None
    #: Whether fixtures (``raw=True``) count as changes.
    announce_raw: bool = False
    #: The limits of one connection; see ``turbo.connections.limits``.
    connection_limits: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)
    #: The limits of one user over all connections; see ``turbo.connections.limits``.
    user_limits: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)
    #: See ``turbo.observers``.
    observers: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)
    #: See ``turbo.bindings``.
    bindings: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)
    #: See ``turbo.pubsub``.
    pubsub: Mapping[str, Any] = field(default_factory=lambda: _EMPTY)


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the current settings."""
    return _read("TURBO", getattr(django_settings, "TURBO", {}), Settings)


def section_reader(
    key: str, cls: type[T], convert: Callable[[T], T] | None = None
) -> Callable[[], T]:
    """
    Return a function that returns ``TURBO[key]``, a dict, as an object of a dataclass.

    The function reads the setting once, and again after ``setting_changed``.
    ``convert`` checks the object or replaces it.
    """

    @lru_cache(maxsize=1)
    def read() -> T:
        given = getattr(get_settings(), key.lower())
        section = _read(f"TURBO[{key!r}]", given, cls)
        return section if convert is None else convert(section)

    _readers.append(read)
    return read


_readers: list[Any] = [get_settings]  # decorated with lru_cache


def _read(name: str, given: Mapping[str, Any], cls: type[T]) -> T:
    """Return ``given`` as an object of a dataclass, whose fields are the valid keys."""
    known = {f.name.upper(): f.name for f in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(given.keys() - known.keys())
    if unknown:
        raise ConfigurationError(
            f"{name} has no setting {unknown[0]!r}. Known settings: "
            f"{', '.join(sorted(known))}."
        )
    return cls(**{known[key]: value for key, value in given.items()})


def layer_config() -> Mapping[str, Any]:
    """Return the entry of ``CHANNEL_LAYERS`` for broadcasts."""
    layers = getattr(django_settings, "CHANNEL_LAYERS", {})
    config: Mapping[str, Any] = layers.get(get_settings().channel_layer, _EMPTY)
    return config


def layer_hosts() -> Any:
    """Return the Redis hosts in the layer's options, unchanged, or ``None``."""
    return layer_config().get("CONFIG", {}).get("hosts")


def layer_is_redis() -> bool:
    """Return whether the layer is one of channels-redis or a subclass of one."""
    return layer_is_of("channels_redis.")


def layer_is_of(prefix: str) -> bool:
    """Return whether the layer's class, or a base of it, is in such a module."""
    layer = layer_config().get("BACKEND")
    if layer is None:
        return False
    modules = [base.__module__ for base in import_string(layer).__mro__]
    return any(module.startswith(prefix) for module in modules)


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting == "TURBO":
        for reader in _readers:
            reader.cache_clear()


setting_changed.connect(_forget, dispatch_uid="turbo.conf")
