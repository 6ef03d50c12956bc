"""A parser of HTML that knows the position of each tag."""

from __future__ import annotations

from html.parser import HTMLParser
from itertools import accumulate

__all__ = ["PlacedParser"]


class PlacedParser(HTMLParser):
    """A base class for parsers that return parts of the original text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=False)
        lines = text.split("\n")
        self.text = text
        self._starts = [0, *accumulate(len(line) + 1 for line in lines)]

    def read(self) -> None:
        """Parse the text."""
        self.feed(self.text)
        self.close()

    def start_of_tag(self) -> int:
        """Return the start of the tag that is being handled."""
        line, column = self.getpos()
        return self._starts[line - 1] + column

    def end_of_tag(self) -> int:
        """Return the end of the start tag that is being handled."""
        return self.start_of_tag() + len(self.get_starttag_text() or "")
