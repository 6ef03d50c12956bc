"""
The text of server-sent events.

Lines end only at CR, LF or both. Data with several lines becomes several ``data``
fields, which the browser joins with LF.
"""

from __future__ import annotations

import re

__all__ = ["comment", "event", "retry"]

_NEWLINE = re.compile(r"\r\n|\r|\n")
_FIELD_BREAKERS = re.compile(r"[\r\n\0]")


def event(
    data: str, *, id: str | None = None, event: str | None = None, retry_ms: int = 0
) -> str:
    r"""
    Return one event.

    The browser sends ``id`` as ``Last-Event-ID`` when it reconnects, dispatches an
    event of the type ``event`` (``message`` by default), and waits for ``retry_ms``
    before it reconnects.

    >>> event("<p>a</p>\n<p>b</p>", id="k3:8")
    'id: k3:8\ndata: <p>a</p>\ndata: <p>b</p>\n\n'
    """
    fields = [_field("event", event), _field("id", id)]
    fields.append(f"retry: {retry_ms}\n" if retry_ms else "")
    fields.extend(f"data: {line}\n" for line in _NEWLINE.split(data))
    return "".join(fields) + "\n"


def retry(milliseconds: int) -> str:
    r"""
    Return the field that tells the browser how long to wait before it reconnects.

    >>> retry(1500)
    'retry: 1500\n\n'
    """
    return f"retry: {milliseconds}\n\n"


def comment(text: str = "") -> str:
    r"""
    Return a comment, which keeps the connection alive without calling a listener.

    >>> comment("ping")
    ': ping\n\n'
    """
    return "".join(f": {line}\n" for line in _NEWLINE.split(text)) + "\n"


def _field(name: str, value: str | None) -> str:
    if value is None:
        return ""
    if _FIELD_BREAKERS.search(value):
        raise ValueError(
            f"The {name} of a server-sent event is one line without NUL, not {value!r}."
        )
    return f"{name}: {value}\n"
