"""A parser of HTML that knows where in the text it is."""

from __future__ import annotations

from html.parser import HTMLParser
from itertools import accumulate

__all__ = ["PlacedParser"]


class PlacedParser(HTMLParser):
    """What readers need who give back pieces of the text as they were sent."""

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
        """Return where the tag begins that is being handled."""
        line, column = self.getpos()
        return self._starts[line - 1] + column

    def end_of_tag(self) -> int:
        """Return where the start tag ends that is being handled."""
        return self.start_of_tag() + len(self.get_starttag_text() or "")
