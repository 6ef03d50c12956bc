"""
Text that grows on pages while it is written, such as the answer of a language model.

::

    with room.stream.text(id="answer-7") as answer:
        for chunk in model.generate(prompt):
            answer.write(chunk)
        answer.finish(html=markdown(answer.text))
"""

from __future__ import annotations

from turbo.exceptions import TextError
from turbo.replay.texts import LONGEST, Put, Stored, TextState
from turbo.streams.growing import Growing, whole

__all__ = ["StreamText"]

_FIRST_HALVES = ("\ud800", "\udbff")


class StreamText(Growing):
    """
    A text that grows under an id; one block of code writes it.

    Pages get at most twenty parts of it in a second::

        <turbo-stream action="grow" target="answer-7" run="17" at="120">\
<template>a &lt; b</template></turbo-stream>

    What is written is escaped. One object belongs to one thread or task.
    """

    def __init__(self, name: str, id: object) -> None:
        super().__init__(name, id)
        self._parts: list[str] = []
        self._length = 0
        self._half = ""  # the first half of a character
        self._html: str | None = None
        # Of the sender, on its loop.
        self._joined = ""
        self._taken = 0  # parts that are in it
        self._stored = 0  # characters of it

    @property
    def text(self) -> str:
        """What is written so far."""
        return "".join(self._parts)

    def write(self, chunk: str) -> None:
        """
        Write ``chunk`` behind what is there; this does not wait for the network.

        It raises :exc:`TypeError` for what is no string, and
        :exc:`~turbo.exceptions.TextError` after the end, if the text would become
        longer than 262,144 characters, or if another writer has begun it anew.
        """
        if not isinstance(chunk, str):
            raise TypeError(
                f"write() takes a string, not {chunk!r:.100}: pass the text of it."
            )
        self._require_writing()
        chunk = self._half + chunk
        self._half = ""
        if chunk and _FIRST_HALVES[0] <= chunk[-1] <= _FIRST_HALVES[1]:
            chunk, self._half = chunk[:-1], chunk[-1]
        self._add(whole(chunk))

    async def awrite(self, chunk: str) -> None:
        """Async version of write()."""
        self.write(chunk)

    def finish(self, *, html: str | None = None) -> None:
        """
        End the text; ``html`` takes its place on the pages.

        It goes out as it is: pass only what you trust.
        """
        if html is not None and not isinstance(html, str):
            raise TypeError(f"html is a string, not {html!r:.100}.")
        self._require_writing()
        if html is not None and len(html) > LONGEST:
            raise self._too_long(len(html))
        self._html = None if html is None else whole(html)
        self._end("finished")

    async def afinish(self, *, html: str | None = None) -> None:
        """Async version of finish()."""
        self.finish(html=html)

    def written(self) -> int:
        """Return the number of characters, and one more for the end."""
        return self._length + (self._state != "writing")

    def stored(self) -> int:
        """Return how many characters have been stored."""
        return self._stored

    def next_put(self) -> Put:
        """Return what has not been stored yet."""
        state, count = self._state, len(self._parts)
        self._joined += "".join(self._parts[self._taken : count])
        self._taken = count
        start, at = self._stored, len(self._joined)
        if state != "writing" and self._html is not None:
            return self._put(at, self._html, at)._replace(kind="html", state=state)
        return self._put(start, self._joined[start:], at)._replace(state=state)

    def _end(self, state: TextState) -> None:
        if self._half:
            self._add(whole(self._half))
        super()._end(state)

    def _add(self, chunk: str) -> None:
        if self._length + len(chunk) > LONGEST:
            raise self._too_long(self._length + len(chunk))
        if chunk:
            self._parts.append(chunk)
            self._length += len(chunk)
            self._changed()

    def _too_long(self, length: int) -> TextError:
        detail = f"it would have {length} characters, and may have {LONGEST}"
        return TextError(self.id, "too long", detail)

    def _whole_end(self) -> Put:
        if self._html is not None:
            put = self._put(self._length, self._html, self._length)
            return put._replace(kind="html", state=self._state)
        return self._put(0, self.text, self._length)._replace(state=self._state)

    def _put(self, start: int, data: str, at: int) -> Put:
        return Put(self.place, self._writer, self._run, start, data, at)

    def _store(self, put: Put, stored: Stored) -> None:
        # More than is known here is of no writer that this one knows.
        self._stored = min(stored.at, len(self._joined))
