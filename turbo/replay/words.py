"""Words that nobody else uses, without asking the operating system for each."""

from __future__ import annotations

import secrets
from itertools import count

from turbo.runtime.forks import after_in_child

__all__ = ["Words"]


class Words:
    """The words of one process: a random one, and a number; any thread may use them."""

    def __init__(self) -> None:
        self._renew()
        # A forked process must not repeat its parent's.
        after_in_child(self._renew)

    def new(self) -> str:
        """Return another word of small letters and digits."""
        return f"{self._own}{next(self._numbers):x}"

    def _renew(self) -> None:
        self._own = secrets.token_hex(5)
        self._numbers = count()  # its steps are atomic
