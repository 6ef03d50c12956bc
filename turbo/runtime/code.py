"""What the code of a project mentions, without running it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import CodeType
from typing import Any

__all__ = ["names_in_code"]

#: Attributes under which descriptors and decorators keep functions.
_FUNCTIONS = ("__func__", "fget", "func", "handler", "__wrapped__")


def names_in_code(value: Any) -> Iterator[str]:
    """Yield the names and strings in the code of a function or a descriptor."""
    for name in _FUNCTIONS:
        if inspect.getattr_static(value, name, None) is not None:
            yield from names_in_code(getattr(value, name))
    code = getattr(value, "__code__", value)
    if not isinstance(code, CodeType):
        return
    yield from (*code.co_names, *code.co_freevars)
    for constant in code.co_consts:
        if isinstance(constant, str):
            yield constant
        elif isinstance(constant, CodeType):
            yield from names_in_code(constant)
