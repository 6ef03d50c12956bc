"""The limits of clients: ``CONNECTION_LIMITS`` and ``USER_LIMITS``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

from turbo.conf import section_reader
from turbo.exceptions import ConfigurationError

__all__ = [
    "ConnectionLimits",
    "Held",
    "Rate",
    "UserLimits",
    "check_limits",
    "get_limits",
]

#: Limits per minute.
Rate: TypeAlias = Literal["frames", "names", "tests", "replay_bytes", "whispers"]
#: Limits of what is held at one time.
Held: TypeAlias = Literal["actions", "keys", "lists", "subscriptions", "waiting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """The keys of ``TURBO["CONNECTION_LIMITS"]``; ``None`` means no limit."""

    #: Frames of a client, per minute. Further frames are read more slowly.
    frames: int | None = 3_000
    #: Signed names to decide on, per minute.
    names: int | None = 1_000
    #: Permission tests, per minute.
    tests: int | None = 600
    #: Bytes sent from the replay log, per minute.
    replay_bytes: int | None = 16_777_216
    #: Whispers, per minute.
    whispers: int | None = 600
    #: Running detached actions.
    actions: int | None = 20
    #: Rows that list views remember.
    keys: int | None = 50_000
    #: List views.
    lists: int | None = 20
    #: Subscriptions; for pages, ``MAX_STREAMS`` is checked first.
    subscriptions: int | None = 1_000
    #: Subscriptions that wait for a decision.
    waiting: int | None = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class UserLimits(ConnectionLimits):
    """The keys of ``TURBO["USER_LIMITS"]``, for all connections of one user."""

    frames: int | None = 15_000
    names: int | None = 5_000
    tests: int | None = 2_000
    replay_bytes: int | None = 67_108_864
    whispers: int | None = 1_200
    actions: int | None = 60
    keys: int | None = 100_000
    lists: int | None = 60
    subscriptions: int | None = 3_000
    waiting: int | None = 1_000


def check_limits() -> None:
    """Raise :exc:`ConfigurationError` if a limit is not valid."""
    for name in _SECTIONS:
        limits = get_limits(name)
        for field in fields(limits):
            value = getattr(limits, field.name)
            if value is not None and not (type(value) is int and value > 0):
                raise ConfigurationError(
                    f"TURBO[{name!r}][{field.name.upper()!r}] is {value!r}, which is "
                    f"neither a positive whole number nor None."
                )


_SECTIONS: dict[str, Callable[[], ConnectionLimits]] = {
    "CONNECTION_LIMITS": section_reader("CONNECTION_LIMITS", ConnectionLimits),
    "USER_LIMITS": section_reader("USER_LIMITS", UserLimits),
}


def get_limits(section: str) -> ConnectionLimits:
    """Return the limits of a section of the settings."""
    return _SECTIONS[section]()
