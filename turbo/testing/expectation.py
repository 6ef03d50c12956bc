"""The expectation of a test about elements, and its description."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Self

from django.db.models import Model

from turbo.streams.html import dom_id
from turbo.testing.elements import StreamElement

__all__ = ["Expectation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """The number of elements that should match, and what they should have."""

    count: int | None
    action: str | None
    target: str | None
    selector: str | None
    audience: str | None

    @classmethod
    def of(
        cls,
        *,
        count: int | None,
        action: str | None,
        target: object,
        selector: str | None,
        audience: str | None = None,
    ) -> Self:
        """Return the expectation; ``target`` may be an instance for its ``dom_id``."""
        if isinstance(target, Model):
            target = dom_id(target)
        id = None if target is None else str(target)
        return cls(
            count=count,
            action=action,
            target=id,
            selector=selector,
            audience=audience,
        )

    def matching(self, elements: Iterable[StreamElement]) -> list[StreamElement]:
        """Return the elements that match."""
        return [
            element
            for element in elements
            if self.action in (None, element.action)
            and self.target in (None, element.target)
            and self.selector in (None, element.targets)
            and (self.audience is None or element.audience in (None, self.audience))
        ]

    def is_met_by(self, found: int) -> bool:
        """Return whether ``found`` is the number that should match."""
        return bool(found) if self.count is None else found == self.count

    def __str__(self) -> str:
        values = {field.name: getattr(self, field.name) for field in fields(self)[1:]}
        given = [f"{name}={value!r}" for name, value in values.items() if value]
        number = "an" if self.count is None else str(self.count)
        noun = "element" if number in {"an", "1"} else "elements"
        return f"{number} {noun}" + (f" with {', '.join(given)}" if given else "")
