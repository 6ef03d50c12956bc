"""A message in the form that subscribers get; it is encoded once for all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Frame", "text_frame"]

#: FIN, and the opcode of a text frame.
_WHOLE_TEXT = 0x81


class Frame:
    """
    The text of a frame and its encoded forms.

    ``websocket`` is the form that is written directly to a WebSocket. A server that
    needs another form encodes it once and finds it under its own key afterwards.
    """

    __slots__ = ("_wire", "size", "text", "websocket")

    def __init__(self, text: str) -> None:
        self.text = text
        self.websocket = text_frame(text)
        #: The size of this frame in a subscriber's queue.
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
    Return ``text`` as one unmasked frame of RFC 6455, as servers send it.

    It is not compressed. The standard allows this for each message, even if compression
    was negotiated.

    >>> text_frame("Hi")
    b'\x81\x02Hi'
    """
    payload = text.encode(errors="replace")  # UTF-8 has no lone surrogates
    size = len(payload)
    if size < 126:
        return bytes((_WHOLE_TEXT, size)) + payload
    if size < 65_536:
        return bytes((_WHOLE_TEXT, 126)) + size.to_bytes(2, "big") + payload
    return bytes((_WHOLE_TEXT, 127)) + size.to_bytes(8, "big") + payload
