"""What a client of a binding stands between: a consumer, and the way to its socket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from turbo.delivery.frame import Frame

__all__ = ["Audience", "Way"]


class Audience(Protocol):
    """What a consumer declares: to whom it speaks of what."""

    event: str
    page_size: int

    def get_groups(self) -> Sequence[str]:
        """Return the groups by which its clients can be reached."""

    def tests_user(self) -> bool:
        """Return whether not everybody may listen."""

    def user_passes_test(self, user: Any) -> Any:
        """Return whether a user may listen; may be a coroutine function."""


class Way(Protocol):
    """The way to the client."""

    def put(self, frame: Frame) -> None:
        """Send a frame, now or soon."""

    async def ready(self) -> None:
        """Wait until nothing waits to be sent; others have their turn first."""

    def end(self, code: int) -> None:
        """End the connection."""
