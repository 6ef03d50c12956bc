"""
The replay log: it keeps the last messages of each stream, to find what was missed.

``TURBO["REPLAY_BACKEND"]`` names one of ``turbo.replay.redis.RedisReplay``,
``turbo.replay.memory.MemoryReplay``, ``turbo.replay.dummy.DummyReplay``, or your own.
"""

from __future__ import annotations

from turbo.replay.base import Append, Appended, Entry, History, ReplayLog, RoutingLog
from turbo.replay.selection import check_replay, get_replay

__all__ = [
    "Append",
    "Appended",
    "Entry",
    "History",
    "ReplayLog",
    "RoutingLog",
    "check_replay",
    "get_replay",
]
