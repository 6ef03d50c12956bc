"""The choice of the replay log of this process."""

from __future__ import annotations

from django.core.checks import CheckMessage
from django.core.checks import Warning as CheckWarning

from turbo.conf import get_settings, layer_is_of, layer_is_redis
from turbo.exceptions import ConfigurationError
from turbo.replay.base import ReplayLog
from turbo.runtime.backends import Selection

__all__ = ["check_replay", "forget_replay", "get_replay"]

DATABASE = "turbo.database.replay.DatabaseReplay"
MEMORY = "turbo.replay.memory.MemoryReplay"
REDIS = "turbo.replay.redis.RedisReplay"


def get_replay() -> ReplayLog:
    """
    Return the replay log of this process, which ``TURBO["REPLAY_BACKEND"]`` names.

    Without this setting, it is the log in Redis, on the hosts of the channel layer, if
    that is one of channels-redis. It is the log in the database if that is the layer of
    ``turbo.database``, and otherwise the log in memory.
    """
    return _selection.get()


def forget_replay() -> None:
    """Make the next call create a new log; data held in memory is lost."""
    _selection.forget()


def check_replay() -> list[CheckMessage]:
    """Return the messages of the system checks about the replay log."""
    try:
        log = get_replay()
        return [*log.check(), *_check_reach(log)]
    except (ConfigurationError, ImportError) as error:
        hint = "Look at TURBO['REPLAY_BACKEND'] and CHANNEL_LAYERS."
        text = f"There is no replay log: {error}"
        return [CheckWarning(text, hint=hint, id="turbo.W020")]


def _check_reach(log: ReplayLog) -> list[CheckMessage]:
    if log.supports_processes or not reaches_processes():
        return []
    return [
        CheckWarning(
            f"The channel layer reaches other processes, but {type(log).__name__} "
            f"numbers the messages of each process separately.",
            hint="Remove TURBO['REPLAY_BACKEND'] to keep the log where the layer is.",
            id="turbo.W021",
        )
    ]


def reaches_processes() -> bool:
    """Return whether the channel layer is known to reach other processes."""
    return layer_is_redis() or layer_is_of("turbo.database.")


def _choose() -> str:
    if backend := get_settings().replay_backend:
        return backend
    if layer_is_of("turbo.database."):
        return DATABASE
    return REDIS if layer_is_redis() else MEMORY


_selection: Selection[ReplayLog] = Selection(
    ReplayLog,  # type: ignore[type-abstract]
    setting="TURBO['REPLAY_BACKEND']",
    choose=_choose,
    make=lambda log_class: log_class.from_settings(),
)
