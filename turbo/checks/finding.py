"""The result of one check, as a sentence for the user."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, Self

__all__ = ["Finding", "examiners"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The severity of a result, its text, and a hint on how to fix it."""

    decision: Literal["ok", "warning", "failure"]
    text: str
    hint: str = ""

    @classmethod
    def ok(cls, text: str) -> Self:
        """Return a result without a problem."""
        return cls("ok", text)

    @classmethod
    def warning(cls, text: str, hint: str) -> Self:
        """Return a result that works but may cause problems."""
        return cls("warning", text, hint)

    @classmethod
    def failure(cls, text: str, hint: str) -> Self:
        """Return a result that does not work."""
        return cls("failure", text, hint)


#: What other apps let ``turbo_doctor`` look at.
examiners: list[Callable[[], Iterable[Finding]]] = []
