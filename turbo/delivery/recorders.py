"""
Those who look on at what is broadcast: the testing kit and the inspector.

A recorder is called with each stream's name and data, in the thread that broadcasts. If
one answers ``False`` the broadcast ends there, which is how tests keep theirs to
themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

__all__ = ["Recorder", "record", "recording"]

Recorder: TypeAlias = Callable[[str, str], bool | None]

_recorders: list[Recorder] = []


def record(name: str, data: str) -> bool:
    """Show a broadcast to all recorders; return whether it is to be sent."""
    answers = [recorder(name, data) for recorder in _recorders]
    return not any(answer is False for answer in answers)


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """Let ``recorder`` see every broadcast of this process made meanwhile."""
    _recorders.append(recorder)
    try:
        yield
    finally:
        _recorders.remove(recorder)
