"""
The base class of replay logs, which keep the last messages of each stream.

A *position* is ``"<epoch>:<number>"``. Numbers start at 1 and have no holes. An epoch
ends when the log can no longer prove that it has lost nothing, because its server was
restarted or emptied. A *moment* (``"@…"``) is a place in all streams at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

from django.core.checks import CheckMessage

from turbo.conf import get_settings
from turbo.exceptions import ConfigurationError
from turbo.replay.leases import Leases
from turbo.replay.positions import Moment, parse
from turbo.replay.texts import NoTexts, Texts
from turbo.runtime.tracing import Trace

__all__ = ["Append", "Appended", "Entry", "History", "ReplayLog", "RoutingLog"]


class Append(NamedTuple):
    """
    A message for a stream; ``data=None`` is a *gap marker*.

    ``key`` names what the message is about, with one name per line, ``writer`` who
    sends it, and ``moment`` when its state was read: these show whether another writer
    was faster. ``trace`` follows the message in this process and is not stored.
    """

    stream: str
    data: str | None
    key: str = ""
    writer: str = ""
    moment: str = ""
    trace: Trace | None = None


class Appended(NamedTuple):
    """
    The position of an appended message.

    ``overtaken`` says that another writer's message with one of the names in its key
    has arrived since the moment, or that this cannot be ruled out. ``is_gap`` says that
    a gap marker was stored instead: the message may have been stored before, by an
    earlier attempt, and the log cannot tell any more.

    ``shown_by`` are the channels of the processes that show the stream, if the log
    knows them.
    """

    epoch: str
    number: int
    overtaken: bool = False
    is_gap: bool = False
    shown_by: tuple[str, ...] | None = None


class Entry(NamedTuple):
    """A message in the log; ``data=None`` is a gap marker."""

    number: int
    data: str | None


@dataclass(frozen=True, slots=True)
class History:
    """
    The messages of a stream since a position.

    ``complete`` guarantees that ``entries`` has everything from there to ``tip``; if it
    is false, there are no entries.
    """

    epoch: str
    tip: int
    entries: tuple[Entry, ...] = ()
    complete: bool = True


class ReplayLog(ABC):
    """
    The base class of replay logs.

    The coroutines may be awaited on any event loop. They raise the exceptions of the
    network. If an append raises an exception, it may be repeated with the same batch of
    the same objects; they are stored once, whatever becomes of the earlier attempts.
    """

    #: Whether several processes share one log.
    supports_processes: ClassVar[bool]
    #: Whether subscribers can get what they missed.
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
        """Return a log with the options from the settings."""
        return cls(**cls.options())

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Return the keyword arguments from the settings."""
        settings = get_settings()
        return {"length": settings.replay_length, "age": settings.replay_age}

    @property
    def sees_failovers(self) -> bool:
        """Whether the log notices that another server has taken over its data."""
        return True

    @abstractmethod
    def moment(self) -> str:
        """
        Return a moment not after now, such as ``"@1718000000000000.1f0c9a7d2e"``.

        This needs no network. It is ``""`` if the moment is not known.
        """

    def moment_of_change(self) -> str:
        """
        Return a moment for a change that is made now, for an :class:`Append`.

        If the moment is not known, the log may find it when it stores the message.
        """
        return self.moment() or "?"

    def is_current(self, moment: Moment) -> bool:
        """
        Return whether times of the log may be compared with ``moment``.

        They may not if the clock of the log is another one since then.
        """
        now = parse(self.moment())
        return isinstance(now, Moment) and now.hosts == moment.hosts

    @abstractmethod
    async def append(self, appends: Sequence[Append]) -> list[Appended]:
        """Number and store messages, in order, in one round trip."""

    @abstractmethod
    async def read(self, requests: Sequence[tuple[str, str]]) -> list[History]:
        """
        Return the history of each ``(stream, since)``, in one round trip.

        ``since`` is a position, a moment, or ``""`` for only the tip; ``"?"``, or
        anything invalid, gives an incomplete history. A position may be followed by a
        moment (``"k3:8@17.1f0c"``); messages from before that are left out.
        """

    @abstractmethod
    async def tips(self, streams: Sequence[str]) -> list[tuple[str, int] | None]:
        """
        Return each stream's last position, or ``None`` if the log has lost it.

        If a message of a stream was overtaken and no gap marker has followed, append
        one: the process that should do so may have been killed.
        """

    @property
    def texts(self) -> Texts:
        """Where growing texts are kept beside the messages."""
        return NoTexts()

    @property
    def leases(self) -> Leases:
        """Where processes note who is present in a stream."""
        raise ConfigurationError(
            f"{type(self).__name__} does not keep who is present, which the option "
            f"Meta.presence of a stream needs: give it the property 'leases'."
        )

    @abstractmethod
    async def sync_clock(self) -> None:
        """Read the clock for :meth:`moment`; call it every few seconds."""

    @abstractmethod
    async def claim(self, key: str, *, seconds: float) -> float:
        """
        Take ``key`` for some seconds and return ``0.0``.

        If it is already taken, return the seconds until it is free again.
        """

    async def claim_each(self, keys: Sequence[str], *, seconds: float) -> list[float]:
        """Call :meth:`claim` for each key; a subclass may do it in one round trip."""
        return [await self.claim(key, seconds=seconds) for key in keys]

    @abstractmethod
    async def forbid(self, keys: Sequence[str], *, seconds: int) -> None:
        """Note that each key was revoked now, and keep this for some seconds."""

    @abstractmethod
    async def forbidden(self, keys: Sequence[str]) -> list[int | None]:
        """
        Return when each key was last revoked, or ``None`` if it was not.

        This is a time of the log, as in moments: a page was made before the revocation
        if its moment is not later, or not :meth:`is_current`.
        """

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        return None

    def check(self) -> list[CheckMessage]:
        """Return messages for the system checks; this needs no network."""
        return []


class RoutingLog(ReplayLog):
    """
    A log that also keeps which process shows which stream.

    A process is known by its ``channel`` of the channel layer. :class:`Appended` says
    which processes a message is for, so that one message of the layer carries all that
    is for one of them, whatever the streams.
    """

    @abstractmethod
    async def read(
        self, requests: Sequence[tuple[str, str]], *, channel: str = ""
    ) -> list[History]:
        """Return the histories; from now on the ``channel`` shows these streams."""

    @abstractmethod
    async def tips(
        self, streams: Sequence[str], *, channel: str = ""
    ) -> list[tuple[str, int] | None]:
        """Return the last positions; the ``channel`` still shows these streams."""

    @abstractmethod
    async def hide(self, stream: str, channel: str) -> None:
        """Note that the ``channel`` does not show the stream any more."""

    async def shown_by(self, streams: Sequence[str]) -> list[tuple[str, ...] | None]:
        """Return the channels that show each stream, or ``None`` if unknown."""
        return [None] * len(streams)
