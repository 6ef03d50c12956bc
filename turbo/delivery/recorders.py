"""
Functions that see every broadcast, for the testing tools and the inspector.

A recorder is called with the stream's name and the data, in the thread that broadcasts.
If it returns ``False``, the message is not sent. Tests use this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

__all__ = ["Recorder", "record", "recording"]

Recorder: TypeAlias = Callable[[str, str], bool | None]

_recorders: list[Recorder] = []


def record(name: str, data: str) -> bool:
    """Call all recorders with a broadcast; return whether to send it."""
    answers = [recorder(name, data) for recorder in _recorders]
    return not any(answer is False for answer in answers)


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Call ``recorder`` with every broadcast of this process inside the block."""
    _recorders.append(recorder)
    try:
        yield
    finally:
        _recorders.remove(recorder)
