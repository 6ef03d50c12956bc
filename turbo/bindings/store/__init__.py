"""
The stores in which the contents of bindings are kept.

``TURBO["BINDINGS"]["BACKEND"]`` names one of
``turbo.bindings.store.redis.RedisStore``, ``turbo.database.store.DatabaseStore``,
``turbo.bindings.store.memory.MemoryStore``, or a class of your own.
"""

from __future__ import annotations

from turbo.bindings.store.base import (
    ANY,
    Applied,
    Contents,
    Listed,
    Read,
    Row,
    Slot,
    State,
    Store,
    Ticket,
)
from turbo.bindings.store.selection import get_store

__all__ = [
    "ANY",
    "Applied",
    "Contents",
    "Listed",
    "Read",
    "Row",
    "Slot",
    "State",
    "Store",
    "Ticket",
    "get_store",
]
