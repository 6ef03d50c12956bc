"""
Data that say more than what a page shows; the hub reads them and sends the rest on.

They begin with a character that no HTML has, so that all other messages cost one look
at their beginning.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["mark", "plain", "unmark"]

MARK = "\x02"


def mark(kind: str, value: Any) -> str:
    r"""
    Return data of a kind.

    >>> mark("whisper", [["1f0c", "<b>"]])
    '\x02["whisper",[["1f0c","<b>"]]]'
    """
    text = json.dumps([kind, value], ensure_ascii=False, separators=(",", ":"))
    return MARK + text


def unmark(data: str | None) -> tuple[str, Any] | None:
    r"""
    Return the kind and the value of marked data, or ``None`` for all other data.

    The kind is ``""`` if they cannot be read.

    >>> unmark('\x02["whisper",[["1f0c","<b>"]]]')
    ('whisper', [['1f0c', '<b>']])
    >>> unmark("\x02<b>")
    ('', None)
    >>> unmark("<b>")
    """
    if not data or data[0] != MARK:
        return None
    try:
        kind, value = json.loads(data[1:])
    except ValueError:
        return "", None
    return kind, value


def plain(text: str) -> str:
    r"""
    Return a text of an application, which nobody takes for marked data.

    >>> plain('\x02["whisper",[]]')
    '�["whisper",[]]'
    """
    return f"\ufffd{text[1:]}" if text[:1] == MARK else text
