"""What this process knows of a Redis host's clock between two times of asking."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Reading"]

# All times are whole microseconds.

#: By how much two clocks may drift apart: one part in so many.
DRIFT = 2_000
#: Taken off every estimate, for what a slewing clock may do at once.
MARGIN = 20_000
#: A reading older than this says nothing any more.
LIFETIME = 60_000_000


@dataclass(frozen=True, slots=True)
class Reading:
    """
    One answer of a host: who it is, and how far its clock is ahead of ours.

    The host looked at its clock somewhere between our asking and its answer's arrival,
    so its lead over ours lies between ``low`` and ``high``. ``identity`` is lost with
    the host's data and changes with the host's ``process``.
    """

    identity: str
    process: str
    low: int
    high: int
    taken: int

    @classmethod
    def take(
        cls, identity: str, process: str, clock: int, *, sent: int, received: int
    ) -> Reading:
        """
        Return the reading of a ``clock`` that was asked for and received by ours.

        >>> Reading.take("1f0c", "8d7e", 5_000, sent=100, received=140)
        Reading(identity='1f0c', process='8d7e', low=4860, high=4900, taken=140)
        """
        return cls(identity, process, clock - received, clock - sent, received)

    def is_fresh(self, now: int) -> bool:
        """Return whether the reading may still be used."""
        return now - self.taken <= LIFETIME

    def floor(self, now: int) -> int:
        """Return a time that the host's clock has certainly passed."""
        return now + self.low - (now - self.taken) // DRIFT - MARGIN

    def is_behind(self, earlier: Reading) -> bool:
        """Return whether the clock of the same host was set back in between."""
        if self.identity != earlier.identity:
            return False
        slack = MARGIN // 2 + (self.taken - earlier.taken) // DRIFT
        return self.high + slack < earlier.low
