"""
What a replay log is: the last messages of each stream, numbered without a hole.

A *position* is ``"<epoch>:<number>"``. Numbers are dense and start at 1; an epoch ends
when the log cannot prove any more that it has lost nothing, because its server was
restarted or emptied. A *moment* (``"@…"``) is a place in all streams at once.
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from django.core.checks import CheckMessage

from turbo.conf import get_settings
from turbo.exceptions import ConfigurationError

__all__ = ["Append", "Appended", "Entry", "History", "ReplayLog"]


def _new_token() -> str:
    # From the operating system, so that a forked process does not repeat its parent's.
    return secrets.token_hex(6)


@dataclass(frozen=True, slots=True)
class Append:
    """
    A message for a stream; ``data=None`` is a *gap marker*.

    ``key`` names what the message tells of, one name a line, ``writer`` who tells it
    and ``moment`` when its state was read: they answer whether another writer was
    faster. ``token`` tells a repeated attempt from a second message.
    """

    stream: str
    data: str | None
    key: str = ""
    writer: str = ""
    moment: str = ""
    token: str = field(default_factory=_new_token, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Appended:
    """
    The position that a message was given.

    ``overtaken`` says that another writer's message with one of the names in its key
    came in since the moment, or that this cannot be ruled out.
    """

    epoch: str
    number: int
    overtaken: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A message as the log keeps it; ``data=None`` is a gap marker."""

    number: int
    data: str | None


@dataclass(frozen=True, slots=True)
class History:
    """
    What a stream has seen since a position.

    ``complete`` promises that ``entries`` is everything from there to ``tip``; without
    the promise there are no entries.
    """

    epoch: str
    tip: int
    entries: tuple[Entry, ...] = ()
    complete: bool = True


class ReplayLog(ABC):
    """
    The base of every replay log.

    The coroutines may be awaited on any event loop. They raise what the network raises;
    an append that raised may be repeated with the same objects and is stored once.
    """

    #: Do several processes see one log?
    supports_processes: ClassVar[bool]
    #: Can a subscriber learn what it missed?
    supports_replay: ClassVar[bool] = True

    def __init__(self, *, length: int = 100, age: float = 300.0) -> None:
        if length < 1 or age <= 0:
            raise ConfigurationError(
                f"A replay log cannot keep {length!r} messages for {age!r} seconds: "
                f"TURBO['REPLAY_LENGTH'] and TURBO['REPLAY_AGE'] must be positive. "
                f"To keep nothing set TURBO['REPLAY_BACKEND'] to "
                f"'turbo.replay.dummy.DummyReplay'."
            )
        self.length = length
        self.age = age

    @classmethod
    def from_settings(cls) -> Self:
        """Return a log as the settings describe it."""
        return cls(**cls.options())

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Return the keyword arguments that the settings give."""
        settings = get_settings()
        return {"length": settings.replay_length, "age": settings.replay_age}

    @abstractmethod
    def moment(self) -> str:
        """
        Return a moment not after now, such as ``"@1718000000000000.1f0c9a7d2e"``.

        Asks nobody. ``""`` says that it is not known.
        """

    @abstractmethod
    async def append(self, appends: Sequence[Append]) -> list[Appended]:
        """Number and keep messages, in order, in one round trip."""

    @abstractmethod
    async def read(self, requests: Sequence[tuple[str, str]]) -> list[History]:
        """
        Return what happened in each ``(stream, since)``, in one round trip.

        ``since`` is a position, a moment, ``""`` for nothing but the tip, or ``"?"``
        (and whatever cannot be understood) for an incomplete history. A position may
        be followed by a moment (``"k3:8@17.1f0c"``); what came before that is left out.
        """

    @abstractmethod
    async def tips(self, streams: Sequence[str]) -> list[tuple[str, int] | None]:
        """Return each stream's last position, ``None`` where the log has lost it."""

    @abstractmethod
    async def sync_clock(self) -> None:
        """Learn what :meth:`moment` needs to know; to be called every few seconds."""

    @abstractmethod
    async def claim(self, key: str, *, seconds: float) -> float:
        """
        Take ``key`` for some seconds and return ``0.0``.

        Where it is taken, return the seconds until it is free again.
        """

    @abstractmethod
    async def forbid(self, keys: Sequence[str], *, seconds: int) -> None:
        """Note for some seconds that each key was revoked now."""

    @abstractmethod
    async def forbidden(self, keys: Sequence[str]) -> list[int | None]:
        """
        Return when each key was last revoked, ``None`` if it was not.

        That is a time of the log, as moments have it: a page was made before the
        revocation if its moment is not later.
        """

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        return None

    def check(self) -> list[CheckMessage]:
        """Return what the system checks should say; asks nobody."""
        return []
