"""One message as it goes to subscribers: made once, written to many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Frame", "text_frame"]

#: FIN, and the opcode of a text frame.
_WHOLE_TEXT = 0x81


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


def text_frame(text: str) -> bytes:
    r"""
    Return ``text`` as one frame of RFC 6455, as a server sends it: masked by nobody.

    Not compressed: the standard leaves that open for each message, also where
    compression was negotiated.

    >>> text_frame("Hi")
    b'\x81\x02Hi'
    """
    payload = text.encode(errors="replace")  # a lone surrogate has no UTF-8
    size = len(payload)
    if size < 126:
        return bytes((_WHOLE_TEXT, size)) + payload
    if size < 65_536:
        return bytes((_WHOLE_TEXT, 126)) + size.to_bytes(2, "big") + payload
    return bytes((_WHOLE_TEXT, 127)) + size.to_bytes(8, "big") + payload
