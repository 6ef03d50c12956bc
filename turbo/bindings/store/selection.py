"""Which store this process uses."""

from __future__ import annotations

import os
import threading
from typing import Any

from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from turbo.bindings.conf import BindingSettings, get_binding_settings
from turbo.bindings.store.base import Store
from turbo.conf import layer_config
from turbo.exceptions import ConfigurationError
from turbo.replay.selection import layer_is_redis

__all__ = ["get_store"]

MEMORY = "turbo.bindings.store.memory.MemoryStore"
REDIS = "turbo.bindings.store.redis.RedisStore"

_store: Store | None = None
_lock = threading.Lock()  # owns the making of _store


def get_store() -> Store:
    """
    Return the store of this process, as ``TURBO["BINDINGS"]["BACKEND"]`` says.

    Without that setting it is the one in Redis where ``HOSTS`` are given or the channel
    layer is one of channels-redis, and the one in memory otherwise.
    """
    global _store
    if _store is None:
        with _lock:
            if _store is None:
                _store = _make(get_binding_settings())
    return _store


def _make(settings: BindingSettings) -> Store:
    in_redis = settings.hosts is not None or layer_is_redis()
    backend = settings.backend or (REDIS if in_redis else MEMORY)
    store_class = import_string(backend)
    if not (isinstance(store_class, type) and issubclass(store_class, Store)):
        raise ConfigurationError(
            f"TURBO['BINDINGS']['BACKEND'] is {backend!r}, which is no Store."
        )
    return store_class(**_options(store_class, settings))


def _options(store_class: type[Store], settings: BindingSettings) -> dict[str, Any]:
    options = {"length": settings.log_length, "patience": settings.patience}
    if not store_class.supports_processes:
        return options
    hosts = settings.hosts
    if hosts is None:
        hosts = layer_config().get("CONFIG", {}).get("hosts")
    return options | {
        "hosts": hosts,
        "prefix": settings.prefix,
        "age": settings.max_age,
        "timeout": settings.timeout,
    }


def _forget(*, setting: str, **kwargs: Any) -> None:
    global _store
    if setting in {"TURBO", "CHANNEL_LAYERS"}:
        _store = None


def _after_fork() -> None:
    # A lock may have been held by a thread that is not here. What the store in memory
    # holds is the parent's.
    global _store, _lock
    _lock = threading.Lock()
    if _store is not None and not _store.supports_processes:
        _store = None


setting_changed.connect(_forget, dispatch_uid="turbo.bindings.store")
os.register_at_fork(after_in_child=_after_fork)
