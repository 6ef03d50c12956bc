"""Which replay log this process uses."""

from __future__ import annotations

import os
import threading
from typing import Any

from django.core.checks import CheckMessage
from django.core.checks import Warning as CheckWarning
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from turbo.conf import get_settings, layer_config
from turbo.exceptions import ConfigurationError
from turbo.replay.base import ReplayLog

__all__ = [
    "check_replay",
    "forget_replay",
    "get_replay",
    "layer_is_of",
    "layer_is_redis",
]

MEMORY = "turbo.replay.memory.MemoryReplay"
REDIS = "turbo.replay.redis.RedisReplay"

_log: ReplayLog | None = None
_lock = threading.Lock()  # owns _log


def get_replay() -> ReplayLog:
    """
    Return the replay log of this process, as ``TURBO["REPLAY_BACKEND"]`` says.

    Without that setting it is the one in Redis where the channel layer is one of
    channels-redis, on the same hosts, and the one in memory otherwise.
    """
    global _log
    with _lock:
        if _log is None:
            _log = _make()
        return _log


def check_replay() -> list[CheckMessage]:
    """Return what the system checks should say about the replay log."""
    try:
        log = get_replay()
        return [*log.check(), *_check_reach(log)]
    except (ConfigurationError, ImportError) as error:
        hint = "Look at TURBO['REPLAY_BACKEND'] and CHANNEL_LAYERS."
        text = f"There is no replay log: {error}"
        return [CheckWarning(text, hint=hint, id="turbo.W020")]


def _check_reach(log: ReplayLog) -> list[CheckMessage]:
    if log.supports_processes or not layer_is_redis():
        return []
    return [
        CheckWarning(
            f"The channel layer reaches other processes, but {type(log).__name__} "
            f"numbers messages in each of them alone.",
            hint="Leave TURBO['REPLAY_BACKEND'] out, and the log is kept in Redis.",
            id="turbo.W021",
        )
    ]


def layer_is_redis() -> bool:
    """Return whether the channel layer is of channels-redis, or derived from one."""
    return layer_is_of("channels_redis.")


def layer_is_of(prefix: str) -> bool:
    """Return whether the layer's class, or one it derives from, is of such a module."""
    layer = layer_config().get("BACKEND")
    if layer is None:
        return False
    modules = [base.__module__ for base in import_string(layer).__mro__]
    return any(module.startswith(prefix) for module in modules)


def _make() -> ReplayLog:
    backend = get_settings().replay_backend or (REDIS if layer_is_redis() else MEMORY)
    log_class = import_string(backend)
    if not (isinstance(log_class, type) and issubclass(log_class, ReplayLog)):
        raise ConfigurationError(
            f"TURBO['REPLAY_BACKEND'] is {backend!r}, which is no ReplayLog."
        )
    return log_class.from_settings()


def forget_replay() -> None:
    """Let the next call make another log; what one in memory held is lost."""
    global _log
    _log = None


def _forget(*, setting: str, **kwargs: Any) -> None:
    if setting in {"TURBO", "CHANNEL_LAYERS"}:
        forget_replay()


def _after_fork() -> None:
    # A lock may have been held by a thread that is not here. What the log in memory
    # holds is the parent's.
    global _log, _lock
    _lock = threading.Lock()
    if _log is not None and not _log.supports_processes:
        _log = None


setting_changed.connect(_forget, dispatch_uid="turbo.replay")
os.register_at_fork(after_in_child=_after_fork)
