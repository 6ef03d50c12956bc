"""What a subscriber says about where it stands. It comes from strangers."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Moment", "Position", "parse"]

_POSITION = re.compile(r"([0-9a-z]{1,32}):([0-9]{1,15})")
_MOMENT = re.compile(r"@([0-9]{1,16})((?:\.[0-9a-z-]{1,32}){1,64})")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in one stream."""

    epoch: str
    number: int


@dataclass(frozen=True, slots=True)
class Moment:
    """
    A place in all streams: a time by the log's clock, and the identity of each host.

    >>> str(Moment(1718000000000000, ("1f0c9a7d2e", "-")))
    '@1718000000000000.1f0c9a7d2e.-'
    """

    time: int
    hosts: tuple[str, ...]

    def __str__(self) -> str:
        return f"@{self.time}.{'.'.join(self.hosts)}"


def parse(text: str) -> Position | Moment | None:
    """
    Return the position or moment that ``text`` denotes, ``None`` if it denotes none.

    >>> parse("k3f9:12")
    Position(epoch='k3f9', number=12)
    >>> parse("@17.1f0c")
    Moment(time=17, hosts=('1f0c',))
    >>> parse("?")
    """
    if match := _POSITION.fullmatch(text):
        return Position(match[1], int(match[2]))
    if match := _MOMENT.fullmatch(text):
        return Moment(int(match[1]), tuple(match[2][1:].split(".")))
    return None
