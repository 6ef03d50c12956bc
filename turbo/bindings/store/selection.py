"""Choose the store of this process."""

from __future__ import annotations

from typing import Any

from turbo.bindings.conf import get_binding_settings
from turbo.bindings.store.base import Store
from turbo.conf import layer_hosts, layer_is_redis
from turbo.runtime.backends import Selection

__all__ = ["get_store"]

MEMORY = "turbo.bindings.store.memory.MemoryStore"
REDIS = "turbo.bindings.store.redis.RedisStore"


def get_store() -> Store:
    """
    Return the store of this process, which ``TURBO["BINDINGS"]["BACKEND"]`` names.

    Without that setting, it is the store in Redis if ``HOSTS`` is set or the channel
    layer is one of channels-redis, and otherwise the store in memory.
    """
    return _selection.get()


def _choose() -> str:
    settings = get_binding_settings()
    in_redis = settings.hosts is not None or layer_is_redis()
    return settings.backend or (REDIS if in_redis else MEMORY)


def _make(store_class: type[Store]) -> Store:
    settings = get_binding_settings()
    options: dict[str, Any] = {
        "length": settings.log_length,
        "patience": settings.patience,
    }
    if store_class.supports_processes:
        options |= {
            "hosts": layer_hosts() if settings.hosts is None else settings.hosts,
            "prefix": settings.prefix,
            "age": settings.max_age,
            "timeout": settings.timeout,
        }
    return store_class(**options)


_selection: Selection[Store] = Selection(
    Store,  # type: ignore[type-abstract]
    setting="TURBO['BINDINGS']['BACKEND']",
    choose=_choose,
    make=_make,
)
