"""RFC 6455: the bytes of a text frame as a server sends it, masked by nobody."""

from __future__ import annotations

__all__ = ["text_frame"]

#: FIN, and the opcode of a text frame.
_WHOLE_TEXT = 0x81


def text_frame(text: str) -> bytes:
    r"""
    Return ``text`` as one frame that every client of a server understands.

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
