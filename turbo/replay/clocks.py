"""
The clocks of the servers that keep a log, and what their readings prove.

Nothing here asks a server; whoever has an answer adds it with :meth:`Clocks.note`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from turbo.replay.base import Append
from turbo.replay.clock import Reading
from turbo.replay.positions import Moment, Position, own_time, parse

__all__ = ["Clocks", "monotonic"]

#: The identity, in a moment, of a server that has not answered.
UNKNOWN = "-"
#: The identity of every server in a moment of other servers.
OTHER = "?"


def monotonic() -> int:
    """Return the microseconds of this process's clock."""
    return time.monotonic_ns() // 1_000


class Clocks:
    """The latest reading of each of ``count`` clocks."""

    def __init__(self, count: int, *, monotonic: Callable[[], int] = monotonic) -> None:
        self._count = count
        self._monotonic = monotonic
        # Items are replaced as a whole, so any thread may read them.
        self._readings: list[Reading | None] = [None] * count

    def note(self, host: int, reading: Reading) -> Reading:
        """
        Keep a reading and return it, without an identity if the clock was set back.

        Then it is not kept, so that the next one finds this as well.
        """
        known = self._readings[host]
        if known is not None and reading.is_behind(known):
            return replace(reading, identity="")
        self._readings[host] = reading
        return reading

    def moment(self) -> str:
        """Return a time that every host's clock has passed; ``""`` if none is known."""
        now = self._monotonic()
        return self._moment(now, self._fresh(now))

    def moment_of_change(self) -> str:
        """Return a moment; or our own time, if a host's clock is not known yet."""
        now = self._monotonic()
        fresh = self._fresh(now)
        return f"?{now}" if None in fresh else self._moment(now, fresh)

    def _fresh(self, now: int) -> list[Reading | None]:
        return [r if r and r.is_fresh(now) else None for r in self._readings]

    def _moment(self, now: int, fresh: Sequence[Reading | None]) -> str:
        floors = [reading.floor(now) for reading in fresh if reading]
        if not floors:
            return ""
        identities = (reading.identity if reading else UNKNOWN for reading in fresh)
        return str(Moment(min(floors), tuple(identities)))

    def identified(self) -> bool:
        """Return whether every host that has answered said which server it is."""
        return all(reading.process for reading in self._readings if reading)

    def vouch(self, moment: Moment, host: int, reading: Reading | None = None) -> bool:
        """Return whether a host is known to have the same identity as at ``moment``."""
        reading = reading or self._readings[host]
        known = self._identity(moment, host)
        return reading is not None and reading.identity == known

    def has_lost(self, moment: Moment, host: int) -> bool:
        """Return whether a host is known to have had other data at ``moment``."""
        reading, known = self._readings[host], self._identity(moment, host)
        return known != UNKNOWN and reading is not None and reading.identity != known

    def time(self, own: int, host: int) -> int | None:
        """Return a time that a host's clock had passed at a time of ours."""
        reading = self._readings[host]
        return reading.floor(own) if reading else None

    def process(self, host: int) -> str:
        """Return what identified a host's data when it last answered."""
        reading = self._readings[host]
        return reading.process if reading else ""

    def _identity(self, moment: Moment, host: int) -> str:
        return moment.hosts[host] if len(moment.hosts) == self._count else OTHER

    def floors(self) -> list[int]:
        """Return for each host a time that its clock has passed; 0 if none is known."""
        now = self._monotonic()
        return [reading.floor(now) if reading else 0 for reading in self._fresh(now)]

    def ceiling(self, host: int) -> int:
        """Return a time that a host's clock has not passed; 0 if none is known."""
        now, reading = self._monotonic(), self._readings[host]
        return reading.ceiling(now) if reading and reading.is_fresh(now) else 0

    def since(self, item: Append, host: int) -> str:
        """
        Return the time of a message's moment by a host's clock.

        It is ``""`` if the message has none, ``"0"`` if it is unknown, ``"?…"`` for a
        time when the writer did not know the host, and ``"-1"`` of data that are lost.
        """
        if not item.key or not item.moment:
            return ""
        moment = parse(item.moment)
        if not isinstance(moment, Moment):
            own = own_time(item.moment)
            time = None if own is None else self.time(own, host)
            return "0" if time is None else f"?{max(0, time)}"
        if self.vouch(moment, host):
            return str(moment.time)
        return "-1" if self.has_lost(moment, host) else "0"

    def proves(
        self, place: Position | Moment | None, host: int, reading: Reading
    ) -> bool:
        """Return whether a host has kept what it had at the moment of ``place``."""
        moment = place.floor if isinstance(place, Position) else place
        return moment is None or self.vouch(moment, host, reading)
