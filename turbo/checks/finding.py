"""One thing that was looked at, in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

__all__ = ["Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, how bad it is, and what to do about it."""

    decision: Literal["ok", "warning", "failure"]
    text: str
    hint: str = ""

    @classmethod
    def ok(cls, text: str) -> Self:
        """Return that something is as it should be."""
        return cls("ok", text)

    @classmethod
    def warning(cls, text: str, hint: str) -> Self:
        """Return that something works and could bite."""
        return cls("warning", text, hint)

    @classmethod
    def failure(cls, text: str, hint: str) -> Self:
        """Return that something does not work."""
        return cls("failure", text, hint)
