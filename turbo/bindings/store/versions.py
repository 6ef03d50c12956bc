"""The version of a cached queryset."""

from __future__ import annotations

from typing import NamedTuple

from turbo.replay.positions import Position, parse

__all__ = ["Version"]


class Version(NamedTuple):
    """
    The number of changes of the content within one epoch of the cache.

    Numbers grow by one with every change. When the cache was lost and is filled anew, a
    new epoch begins, so a version never stands for two contents.
    """

    epoch: str
    number: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.number}"

    @classmethod
    def parse(cls, text: str | None) -> Version | None:
        """
        Return the version in ``text``, which may come from a client, or ``None``.

        >>> Version.parse("k3f9:12")
        Version(epoch='k3f9', number=12)
        >>> Version.parse("latest")
        """
        place = parse(text) if text else None
        return cls(place.epoch, place.number) if isinstance(place, Position) else None
