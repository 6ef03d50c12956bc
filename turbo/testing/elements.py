"""Read elements from the HTML that was sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from turbo.testing.parsing import PlacedParser

__all__ = ["StreamElement", "read_elements"]


@dataclass(frozen=True, slots=True)
class StreamElement:
    """One ``<turbo-stream>``; ``str()`` returns it as it was sent."""

    #: The name of the stream that it was sent to; ``""`` in a response.
    stream: str
    action: str
    #: The id of the element to act on.
    target: str | None = None
    #: The CSS selector of the elements to act on.
    targets: str | None = None
    #: All its attributes, including those above.
    attributes: Mapping[str, str] = field(default_factory=dict)
    #: What is inside its ``<template>``; ``""`` without one.
    html: str = ""
    #: The audience that it was sent to; ``None`` for all.
    audience: str | None = None
    text: str = field(default="", repr=False)

    def __str__(self) -> str:
        return self.text


def read_elements(
    text: str, stream: str = "", audience: str | None = None
) -> list[StreamElement]:
    """
    Return the elements in ``text``, except those inside other elements.

    >>> [hello] = read_elements(
    ...     '<turbo-stream action="append" target="messages">'
    ...     "<template><p>Hello</p></template></turbo-stream>"
    ... )
    >>> hello.action, hello.target, hello.html
    ('append', 'messages', '<p>Hello</p>')
    """
    reader = _Reader(text, stream, audience)
    reader.read()
    return reader.elements


class _Reader(PlacedParser):
    """Find the outermost elements and the text of their templates."""

    def __init__(self, text: str, stream: str, audience: str | None) -> None:
        super().__init__(text)
        self._stream = stream
        self._audience = audience
        self._depth = 0  # of <turbo-stream>
        self._templates = 0  # of <template> in the outermost of those
        self._attributes: dict[str, str] = {}
        self._start = 0
        self._content = 0
        self._html = ""
        self.elements: list[StreamElement] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "turbo-stream":
            self._depth += 1
            if self._depth == 1:
                self._start, self._html, self._templates = self.start_of_tag(), "", 0
                self._attributes = {name: value or "" for name, value in attrs}
        elif tag == "template" and self._depth == 1:
            self._templates += 1
            if self._templates == 1:
                self._content = self.end_of_tag()

    def handle_endtag(self, tag: str) -> None:
        if tag == "template" and self._depth == 1:
            self._templates -= 1
            if self._templates == 0:
                self._html = self.text[self._content : self.start_of_tag()]
        elif tag == "turbo-stream" and self._depth:
            self._depth -= 1
            if self._depth == 0:
                self._add()

    def _add(self) -> None:
        end = self.text.index(">", self.start_of_tag()) + 1
        attributes = self._attributes
        self.elements.append(
            StreamElement(
                stream=self._stream,
                action=attributes.get("action", ""),
                target=attributes.get("target"),
                targets=attributes.get("targets"),
                attributes=attributes,
                html=self._html,
                audience=self._audience,
                text=self.text[self._start : end],
            )
        )
