"""
The messages of the channel layer; one holds all messages published together.

The layers pack them with msgpack, so they hold strings, numbers, lists and ``None``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from turbo.delivery.unreadable import Unreadable

__all__ = ["MESSAGES", "Envelope", "envelopes"]

#: The channel layer's ``type`` of a broadcast.
MESSAGES = "turbo.messages"


@dataclass(frozen=True, slots=True)
class Envelope:
    """
    Consecutive messages of one stream; ``None`` among ``data`` marks a gap.

    ``number`` is the number, within the epoch, of the envelope's first message. It is
    ``0`` if the log has no positions; then the messages are only passed on.
    """

    sid: str
    epoch: str
    number: int
    data: tuple[str | None, ...]

    def pack(self) -> dict[str, Any]:
        """
        Return the channel layer's message.

        >>> Envelope("z7r3", "k3", 8, ("<b>", None)).pack()
        {'type': 'turbo.messages', 's': 'z7r3', 'e': 'k3', 'n': 8, 'd': ['<b>', None]}
        """
        return {
            "type": MESSAGES,
            "s": self.sid,
            "e": self.epoch,
            "n": self.number,
            "d": list(self.data),
        }

    @classmethod
    def unpack(cls, message: Mapping[str, Any]) -> Envelope:
        """
        Return the envelope that :meth:`pack` wrote.

        Raises :exc:`~turbo.delivery.unreadable.Unreadable` for anything else.
        """
        match message:
            case {
                "type": str(kind),
                "s": str(sid),
                "e": str(epoch),
                "n": number,
                "d": [*data],
            } if kind == MESSAGES and _is_number(number) and all(map(_is_data, data)):
                return cls(sid, epoch, number, tuple(data))
        raise Unreadable(f"{message!r:.100}")


def _is_number(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_data(value: object) -> bool:
    return value is None or isinstance(value, str)


def envelopes(
    published: Iterable[tuple[str, str, int, str | None]],
) -> list[Envelope]:
    """
    Return ``(sid, epoch, number, data)`` messages in envelopes of consecutive ones.

    The envelopes are in the order of their first messages.

    >>> envelopes([("a", "e", 1, "x"), ("b", "e", 7, "y"), ("a", "e", 2, "z")])
    [Envelope(sid='a', epoch='e', number=1, data=('x', 'z')), \
Envelope(sid='b', epoch='e', number=7, data=('y',))]
    """
    runs: list[tuple[str, str, int, list[str | None]]] = []
    latest: dict[str, tuple[str, str, int, list[str | None]]] = {}
    for sid, epoch, number, data in published:
        run = latest.get(sid)
        if run and run[1] == epoch and number and number == run[2] + len(run[3]):
            run[3].append(data)
            continue
        latest[sid] = run = (sid, epoch, number, [data])
        runs.append(run)
    return [Envelope(sid, epoch, n, tuple(data)) for sid, epoch, n, data in runs]
