"""
The places at which an app can follow a message, from a save to the sockets.

``turbo.telemetry`` installs a :class:`Tracer`. Without one, each place compares
``tracer`` with ``None`` and goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

__all__ = ["Fanout", "Trace", "Tracer", "install"]


class Trace(Protocol):
    """What is known of one message on its way through this process."""

    def commit(self) -> None:
        """Note that the message is handed over: its transaction has been committed."""

    def drop(self) -> None:
        """Note that the message is not sent, because of a rollback."""


class Fanout(Protocol):
    """The messages of one message of the channel layer, while they are passed on."""

    def sent(
        self, sid: str, number: int, count: int, *, subscribers: int, is_held: bool
    ) -> None:
        """Note that ``count`` messages from ``number`` on have been passed on."""


class Tracer(Protocol):
    """What follows messages; none of its methods may raise an exception."""

    def span(
        self, name: str, attributes: Mapping[str, str]
    ) -> AbstractContextManager[object]:
        """Follow what is done inside the block."""

    def committed(self) -> None:
        """Note that a transaction of this thread was committed now."""

    def broadcast(self, name: str) -> Trace:
        """Return what follows a message that is broadcast now."""

    def now(self) -> int:
        """Return the time, for :meth:`appended`."""

    def appended(
        self,
        traces: Sequence[Trace | None],
        places: Sequence[tuple[str, str, int]],
        begun: int,
    ) -> object:
        """
        Note that the log has stored messages since ``begun``.

        A place is a stream id, an epoch and a number. What is returned is meant for
        :meth:`carry`.
        """

    def carry(self, message: dict[str, Any], appended: Any) -> None:
        """Add to a message of the channel layer what other processes need to know."""

    def received(self, message: Mapping[str, Any]) -> Fanout | None:
        """Return what follows the messages in a message of the channel layer."""


tracer: Tracer | None = None


def install(new: Tracer | None) -> None:
    """Follow messages with a tracer from now on, or with none."""
    global tracer
    tracer = new
