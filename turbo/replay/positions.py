"""
The positions that subscribers send, which cannot be trusted.

A subscriber may only see messages since a moment that the server has signed, so
:func:`bounded` combines this moment with the position that the subscriber sends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

__all__ = ["Moment", "Position", "bounded", "earliest", "own_time", "parse"]

_MOMENT = re.compile(r"@([0-9]{1,16})((?:\.[0-9a-z-]{1,32}){1,64})", re.ASCII)
_POSITION = re.compile(rf"([0-9a-z]{{1,32}}):([0-9]{{1,15}})({_MOMENT.pattern})?")

#: A place since which no history is complete.
UNKNOWN = "?"


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


@dataclass(frozen=True, slots=True)
class Position:
    """
    A place in one stream, and the moment since which the stream may be seen.

    >>> str(Position("k3f9", 12, Moment(17, ("1f0c",))))
    'k3f9:12@17.1f0c'
    """

    epoch: str
    number: int
    floor: Moment | None = None

    def __str__(self) -> str:
        return f"{self.epoch}:{self.number}{self.floor or ''}"


def parse(text: str) -> Position | Moment | None:
    """
    Return the position or moment in ``text``, or ``None`` if it is neither.

    >>> parse("k3f9:12")
    Position(epoch='k3f9', number=12, floor=None)
    >>> parse("@17.1f0c")
    Moment(time=17, hosts=('1f0c',))
    >>> parse("?")
    """
    if match := _POSITION.fullmatch(text):
        floor = parse(match[3] or "")
        return Position(
            match[1], int(match[2]), floor if isinstance(floor, Moment) else None
        )
    if match := _MOMENT.fullmatch(text):
        return Moment(int(match[1]), tuple(match[2][1:].split(".")))
    return None


def own_time(text: str) -> int | None:
    """
    Return the time of this process in the moment of a change, if it has one.

    >>> own_time("?17"), own_time("?"), own_time("@17.1f0c")
    (17, None, None)
    """
    match = re.fullmatch(r"\?([0-9]+)", text, re.ASCII)
    return int(match[1]) if match else None


def bounded(since: str, floor: str) -> str:
    """
    Return ``since`` so that it reaches no further back than the moment ``floor``.

    >>> bounded("@5.1f0c", "@17.1f0c"), bounded("@23.1f0c", "@17.1f0c")
    ('@17.1f0c', '@23.1f0c')
    >>> bounded("k3f9:12", "@17.1f0c")
    'k3f9:12@17.1f0c'
    >>> bounded("@5.1f0c", "?"), bounded("", "@17.1f0c")
    ('?', '')
    """
    if not since:
        return ""  # nothing is to be replayed
    place, lowest = parse(since), parse(floor)
    if not isinstance(lowest, Moment):
        return UNKNOWN
    if isinstance(place, Position):
        return str(replace(place, floor=lowest))
    if isinstance(place, Moment) and place.hosts == lowest.hosts:
        return str(place if place.time > lowest.time else lowest)
    return UNKNOWN


def earliest(places: Iterable[str]) -> str:
    """
    Return the earliest of several positions, or of several moments.

    >>> earliest(["k3f9:12@23.1f0c", "k3f9:19@17.1f0c"]), earliest(["@5.1f0c"])
    ('k3f9:12@17.1f0c', '@5.1f0c')
    >>> earliest(["k3f9:12", "x0:7"])
    '?'
    """
    found = [parse(text) for text in dict.fromkeys(places)]
    moments = [place for place in found if isinstance(place, Moment)]
    if len(moments) == len(found):
        return str(_first(moments) or UNKNOWN)
    positions = [place for place in found if isinstance(place, Position)]
    if len(positions) < len(found) or len({place.epoch for place in positions}) > 1:
        return UNKNOWN
    floors = [place.floor for place in positions]
    first = min(positions, key=lambda place: place.number)
    if not any(floors):
        return str(first)
    floor = _first([floor for floor in floors if floor])
    return str(replace(first, floor=floor)) if floor and all(floors) else UNKNOWN


def _first(moments: Sequence[Moment]) -> Moment | None:
    """Return the earliest moment, or ``None`` if the hosts differ."""
    if len({moment.hosts for moment in moments}) != 1:
        return None
    return min(moments, key=lambda moment: moment.time)
