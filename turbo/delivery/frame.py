"""One message as it goes to subscribers: made once, written to many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from turbo.delivery.wire import text_frame

__all__ = ["Frame"]


class Frame:
    """
    The text of a frame, and what servers made of it.

    ``websocket`` is what goes over a WebSocket that is written to directly. A server
    that wants another form encodes the first time and finds the result under its own
    key every further time.
    """

    __slots__ = ("_wire", "size", "text", "websocket")

    def __init__(self, text: str) -> None:
        self.text = text
        self.websocket = text_frame(text)
        #: What this frame counts for in a subscriber's queue.
        self.size = len(text)
        self._wire: dict[Any, Any] = {}

    def wire(self, key: Any, encode: Callable[[str], Any]) -> Any:
        """Return ``encode(text)``, computed once for each ``key``."""
        try:
            return self._wire[key]
        except KeyError:
            encoded = self._wire[key] = encode(self.text)
            return encoded
