"""An estimate of a Redis host's clock, from the last time it was read."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Reading"]

# All times are whole microseconds.

#: Two clocks drift apart by at most one part in this number.
DRIFT = 2_000
#: Subtracted from every estimate, in case a clock is being adjusted.
MARGIN = 20_000
#: A reading older than this is not used any more.
LIFETIME = 60_000_000


@dataclass(frozen=True, slots=True)
class Reading:
    """
    One answer of a host: its identity, and how far its clock is ahead of ours.

    The host read its clock at some time between our request and the arrival of its
    answer, so its lead over ours lies between ``low`` and ``high``. ``process`` changes
    when the server starts or becomes master, and ``identity`` also when the host loses
    its data.
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
        Return a reading of ``clock``; ``sent`` and ``received`` are our own times.

        >>> Reading.take("1f0c", "8d7e", 5_000, sent=100, received=140)
        Reading(identity='1f0c', process='8d7e', low=4860, high=4900, taken=140)
        """
        return cls(identity, process, clock - received, clock - sent, received)

    def is_fresh(self, now: int) -> bool:
        """Return whether the reading may still be used."""
        return now - self.taken <= LIFETIME

    def floor(self, now: int) -> int:
        """Return a time that the host's clock has certainly passed, or had then."""
        return now + self.low - abs(now - self.taken) // DRIFT - MARGIN

    def ceiling(self, now: int) -> int:
        """Return a time that the host's clock has certainly not passed."""
        return now + self.high + (now - self.taken) // DRIFT + MARGIN

    def is_behind(self, earlier: Reading) -> bool:
        """Return whether the host's clock was set back since ``earlier``."""
        if self.identity != earlier.identity:
            return False
        slack = MARGIN // 2 + (self.taken - earlier.taken) // DRIFT
        return self.high + slack < earlier.low
