"""The interface of consumers for the clients of a binding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

__all__ = ["ConsumerInterface"]


class ConsumerInterface(Protocol):
    """The attributes and methods of a consumer that a client uses."""

    event: str
    page_size: int

    def get_groups(self) -> Sequence[str]:
        """Return the groups that its clients belong to."""

    def tests_user(self) -> bool:
        """Return whether the consumer tests its users."""

    def user_passes_test(self, user: Any) -> Any:
        """Return whether a user may listen; may be a coroutine function."""
