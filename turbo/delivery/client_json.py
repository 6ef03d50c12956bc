"""The frames that clients send: each is one JSON object."""

from __future__ import annotations

import json
from math import isfinite
from typing import Any, NoReturn

from turbo.exceptions import FrameError

__all__ = ["decode", "read_json"]


def read_json(text: str) -> Any:
    """
    Return the value of a client's JSON.

    Raises :exc:`ValueError` or :exc:`RecursionError` if it is not valid. Numbers that
    Python reads but JSON does not have are not valid either, because browsers could not
    read a message that repeats them.

    >>> read_json('{"n": 1.5}')
    {'n': 1.5}
    >>> read_json('{"n": 1e999}')
    Traceback (most recent call last):
        ...
    ValueError: 1e999 is not a JSON number.
    """
    return json.loads(text, parse_constant=_refuse_number, parse_float=_finite)


def _finite(text: str) -> float:
    number = float(text)
    return number if isfinite(number) else _refuse_number(text)


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text:.40} is not a JSON number.")


def decode(text: str | None, *, limit: int) -> dict[str, Any]:
    """
    Return the object in a client's frame; ``None`` stands for a binary frame.

    Raises :exc:`~turbo.exceptions.FrameError` for anything else.
    """
    if text is None:
        raise FrameError("binary", "Frames are JSON text, not bytes.")
    if len(text) > limit:
        raise FrameError("too_large", f"A frame holds at most {limit} bytes.")
    try:
        frame = read_json(text)
    except (ValueError, RecursionError):
        raise FrameError("malformed", "The frame is not JSON.") from None
    if not isinstance(frame, dict):
        raise FrameError("not_object", "The frame is not a JSON object.")
    return frame
