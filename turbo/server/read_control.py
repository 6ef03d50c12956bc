"""
The control of reading from a client's socket.

A socket is read only while no outgoing data waits for the client and no message waits
for the application. The rate of pings, pongs and fragments, which the server handles by
itself, is limited. While a socket is not read, it is checked at intervals, because
nothing else would show that the client has left.
"""

from __future__ import annotations

import asyncio
import select
from typing import Protocol

from turbo.conf import get_settings

__all__ = ["ReadControl", "Source", "largest_frame"]

#: Seconds between two checks of a client whose socket is not read.
TICK = 0.5
#: Pings, pongs and small fragments that a client may send at once, and per ``TICK``.
SMALL, STEADY = 25, 5
#: Bytes that are parsed at a time.
PIECE = 1_024

# Without it (macOS), a client counts as gone when both directions are closed.
_GONE = getattr(select, "POLLRDHUP", 0)


class Source(Protocol):
    """A server's side of one connection."""

    def parse(self, data: bytes) -> None:
        """Parse data from the client."""

    def is_held(self) -> bool:
        """Return whether the client has to wait."""

    def stop_reading(self) -> None:
        """Stop reading from the socket."""

    def read_on(self) -> None:
        """Read from the socket again."""

    def fileno(self) -> int:
        """Return the socket's file descriptor, or -1 if it is closed."""

    def hang_up(self) -> None:
        """Drop the connection."""


class ReadControl:
    """The data that were read from one socket and not parsed yet."""

    __slots__ = (
        "_data",
        "_is_closed",
        "_is_parsing",
        "_is_stuck",
        "_small",
        "_source",
        "_timer",
    )

    def __init__(self, source: Source) -> None:
        self._source = source
        self._data = b""
        self._is_closed = False
        self._is_parsing = False
        self._is_stuck = False  # nothing was read since the last check
        self._small = 0
        self._timer: asyncio.TimerHandle | None = None

    def take(self, data: bytes) -> None:
        """Take data that were read, and parse as much as is allowed now."""
        self._data = self._data + data if self._data else data
        self.go_on()

    def go_on(self) -> None:
        """Parse as much as is allowed now, and read on if nothing is left."""
        if self._is_parsing or self._is_closed:
            return
        self._is_parsing = True
        data, position = self._data, 0
        try:
            while position < len(data) and not self._is_held():
                piece = data[position : position + PIECE]
                position += PIECE
                self._source.parse(piece)
        finally:
            self._is_parsing = False
            self._data = data[position:]
        if self._data or self._is_held():
            self._source.stop_reading()
            self._look_later()
        else:
            self._is_stuck = False
            self._source.read_on()

    def count(self, size: int = 0) -> None:
        """Count a frame that the server handles by itself, if it is small."""
        if size < PIECE:
            self._small += 1
            self._look_later()

    def close(self) -> None:
        """Drop all data, because the connection is lost."""
        self._is_closed = True
        self._data = b""
        if self._timer is not None:
            self._timer.cancel()

    def _is_held(self) -> bool:
        return self._small >= SMALL or self._source.is_held()

    def _look_later(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(TICK, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._is_stuck and _has_left(self._source.fileno()):
            self._source.hang_up()
            return
        self._small = max(0, self._small - STEADY)
        self._is_stuck = True
        self.go_on()
        if self._small:
            self._look_later()


def largest_frame() -> int:
    """Return the size in bytes of the largest frame that a server should accept."""
    # Consumers count characters, which have up to four bytes, and answer larger frames.
    return 4 * get_settings().max_frame_bytes


def _has_left(fileno: int) -> bool:
    """Return whether the client has closed its end, even if data are unread."""
    if fileno < 0 or not hasattr(select, "poll"):  # as on Windows
        return False
    poll = select.poll()
    poll.register(fileno, _GONE)
    return bool(poll.poll(0))
