"""
The attempts to append, by which a log recognises what it has stored already.

A *producer* sends one batch after the other and numbers them. A batch that failed keeps
its producer and its number until it has succeeded; meanwhile, other batches have other
producers. So the log needs to remember only the last batch of each producer: one that
has the same number is a repetition, and one with a smaller number comes too late.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from turbo.replay.base import Append
from turbo.runtime.forks import after_in_child

__all__ = ["Attempt", "Attempts"]

#: The most batches that failed and may be repeated.
FAILED = 100


@dataclass(frozen=True, slots=True)
class Attempt:
    """A batch, what identifies it, and when it was first sent by each host's clock."""

    batch: tuple[Append, ...]
    producer: str
    number: int
    sent: Sequence[int]


class Attempts:
    """The producers of one process; any thread may use them."""

    def __init__(self) -> None:
        self._renew()
        # A forked process must not repeat its parent's numbers.
        after_in_child(self._renew)

    def begin(
        self, batch: Sequence[Append], now: Callable[[], Sequence[int]]
    ) -> Attempt:
        """Return the attempt of ``batch`` that failed before, or a new one."""
        appends = tuple(batch)
        if attempt := self._failed.pop(_key(appends), None):
            return attempt
        try:
            producer, number = self._idle.pop()
        except IndexError:
            producer, number = secrets.token_hex(5), 0
        return Attempt(appends, producer, number + 1, now())

    def succeed(self, attempt: Attempt) -> None:
        """Let another batch have the producer."""
        self._idle.append((attempt.producer, attempt.number))

    def fail(self, attempt: Attempt) -> None:
        """Keep the attempt for a repetition."""
        self._failed[_key(attempt.batch)] = attempt
        while len(self._failed) > FAILED:
            self._failed.pop(next(iter(self._failed)), None)

    def _renew(self) -> None:
        # The operations of a deque and a dict are atomic.
        self._idle: deque[tuple[str, int]] = deque()
        self._failed: dict[tuple[int, ...], Attempt] = {}


def _key(batch: tuple[Append, ...]) -> tuple[int, ...]:
    # Objects that are equal may be different messages.
    return tuple(map(id, batch))
