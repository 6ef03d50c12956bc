"""
The messages of the channel layer; one holds what was published together.

The layers pack them with msgpack, so they hold strings, numbers, lists and ``None``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from turbo.delivery.unreadable import Unreadable

__all__ = ["MESSAGES", "Envelope", "envelopes", "pack", "unpack"]

#: The channel layer's ``type`` of a broadcast.
MESSAGES = "turbo.messages"


class Envelope(NamedTuple):
    """
    Consecutive messages of one stream; ``None`` among ``data`` marks a gap.

    ``number`` is the number, within the epoch, of the envelope's first message. It is
    ``0`` if the log has no positions; then the messages are only passed on.
    """

    sid: str
    epoch: str
    number: int
    data: tuple[str | None, ...]


def pack(found: Sequence[Envelope], *, is_for_all: bool = False) -> dict[str, Any]:
    """
    Return the channel layer's message with these envelopes.

    >>> pack([Envelope("z7r3", "k3", 8, ("<b>", None))])
    {'type': 'turbo.messages', 'm': [['z7r3', 'k3', 8, ['<b>', None]]]}
    """
    packed = [[e.sid, e.epoch, e.number, list(e.data)] for e in found]
    message: dict[str, Any] = {"type": MESSAGES, "m": packed}
    if is_for_all:
        message["a"] = True
    return message


def unpack(message: Mapping[str, Any]) -> tuple[list[Envelope], bool]:
    """
    Return the envelopes that :func:`pack` wrote, and whether all processes get them.

    Raises :exc:`~turbo.delivery.unreadable.Unreadable` for anything else.
    """
    match message:
        case {"type": str(kind), "m": [*packed]} if kind == MESSAGES:
            return [_envelope(each) for each in packed], bool(message.get("a"))
    raise Unreadable(f"{message!r:.100}")


def _envelope(packed: Any) -> Envelope:
    match packed:
        case [str(sid), str(epoch), number, [*data]]:
            if _is_number(number) and all(map(_is_data, data)):
                return Envelope(sid, epoch, number, tuple(data))
    raise Unreadable(f"{packed!r:.100}")


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
