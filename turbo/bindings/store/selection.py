"""Choose the store of this process."""

from __future__ import annotations

from turbo.bindings.conf import get_binding_settings
from turbo.bindings.store.base import Store
from turbo.conf import layer_is_of, layer_is_redis
from turbo.runtime.backends import Selection

__all__ = ["get_store"]

DATABASE = "turbo.database.store.DatabaseStore"
MEMORY = "turbo.bindings.store.memory.MemoryStore"
REDIS = "turbo.bindings.store.redis.RedisStore"


def get_store() -> Store:
    """
    Return the store of this process, which ``TURBO["BINDINGS"]["BACKEND"]`` names.

    Without that setting, it is the store in Redis if ``HOSTS`` is set or the channel
    layer is one of channels-redis, the store in the database if the layer is there,
    and otherwise the store in memory.
    """
    return _selection.get()


def _choose() -> str:
    settings = get_binding_settings()
    if settings.backend is not None:
        return settings.backend
    if settings.hosts is not None or layer_is_redis():
        return REDIS
    return DATABASE if layer_is_of("turbo.database.") else MEMORY


_selection: Selection[Store] = Selection(
    Store,  # type: ignore[type-abstract]
    setting="TURBO['BINDINGS']['BACKEND']",
    choose=_choose,
    make=lambda store_class: store_class.from_settings(),
)
