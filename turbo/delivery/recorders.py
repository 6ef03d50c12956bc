"""
Functions that see every broadcast, for the testing tools and the inspector.

A recorder is called with the stream's name and the data, in the thread that broadcasts.
If it returns ``False``, the message is not sent. Tests use this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

__all__ = ["Recorder", "record", "recording", "sends"]

Recorder: TypeAlias = Callable[[str, str], bool | None]

#: Recorders, and whether what they see is sent at all.
_recorders: list[tuple[Recorder, bool]] = []


def record(name: str, data: str) -> bool:
    """Call all recorders with a broadcast; return whether to send it."""
    answers = [recorder(name, data) for recorder, _ in _recorders]
    return not any(answer is False for answer in answers)


def sends() -> bool:
    """Return whether broadcasts are sent, as far as recorders have said before."""
    return all(is_sent for _, is_sent in _recorders)


@contextmanager
def recording(recorder: Recorder, *, sends: bool = True) -> Iterator[None]:
    """
    Call ``recorder`` with every broadcast of this process inside the block.

    If it returns ``False`` for all of them, say so with ``sends``: then growing texts,
    which it sees when they end, are not sent while they grow.
    """
    _recorders.append((recorder, sends))
    try:
        yield
    finally:
        _recorders.remove((recorder, sends))
