"""What a client of a binding knows of its consumer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

__all__ = ["ConsumerInterface"]


class ConsumerInterface(Protocol):
    """What a consumer declares: to whom it speaks of what."""

    event: str
    page_size: int

    def get_groups(self) -> Sequence[str]:
        """Return the groups by which its clients can be reached."""

    def tests_user(self) -> bool:
        """Return whether not everybody may listen."""

    def user_passes_test(self, user: Any) -> Any:
        """Return whether a user may listen; may be a coroutine function."""
