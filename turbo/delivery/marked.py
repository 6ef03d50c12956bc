r"""
Data that is not simply passed on, but read by the process that serves the pages.

It begins with a mark, and JSON follows: ``"\x02" + '["audiences",{"member":"…"}]'``.
What the application broadcasts never begins with the mark, so nobody can forge it.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["MARK", "Marked", "mark", "plain", "unmark"]

MARK = "\x02"

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Marked(str):
    """Data that :func:`mark` has made in this process."""

    __slots__ = ()


def mark(kind: str, value: Any) -> Marked:
    r"""
    Return a JSON value as data of this kind.

    >>> mark("audiences", {"member": "<b>"})
    '\x02["audiences",{"member":"<b>"}]'
    """
    return Marked(f"{MARK}{_encode([kind, value])}")


def unmark(data: str) -> tuple[str, Any] | None:
    """
    Return the kind and value of marked data, or ``None`` for all other data.

    The kind is ``""`` if the data cannot be read.

    >>> unmark(mark("audiences", {"member": "<b>"})), unmark("<b>")
    (('audiences', {'member': '<b>'}), None)
    """
    if data[:1] != MARK:
        return None
    try:
        kind, value = json.loads(data[1:])
    except (ValueError, TypeError, RecursionError):
        return "", None
    return kind, value


def plain(data: str) -> str:
    r"""
    Return data of the application, without a mark that it might begin with.

    >>> plain('\x02["audiences",{}]'), plain("<b>")
    ('\ufffd["audiences",{}]', '<b>')
    """
    if data[:1] != MARK or isinstance(data, Marked):
        return data
    return f"\ufffd{data[1:]}"
