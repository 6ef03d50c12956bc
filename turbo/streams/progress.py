"""
Progress of a job, which pages show while it goes on.

::

    with job.stream.progress(id="import-3", total=len(rows)) as progress:
        for row in rows:
            load(row)
            progress.advance(note=row.name)
"""

from __future__ import annotations

import json
from typing import TypeAlias

from turbo.replay.texts import Put, Stored, TextState
from turbo.streams.growing import Growing, whole

__all__ = ["StreamProgress"]

Number: TypeAlias = int | float

#: A number that can be shown as a percentage of another one.
LARGEST = 1e300
#: Characters of a note; a longer one is cut.
LONGEST_NOTE = 1_000


class StreamProgress(Growing):
    """
    The progress of one job under an id.

    Pages get at most twenty states of it in a second::

        <turbo-stream action="progress" target="import-3" run="17" at="4" value="4" \
total="9" note="Rake"></turbo-stream>

    Without a ``total`` it is not known how much there is to do. The value is never less
    than 0 nor more than the total: what is beyond is not shown.
    """

    def __init__(self, name: str, id: object, *, total: Number | None = None) -> None:
        super().__init__(name, id)
        self._value: Number = 0
        self._total = None if total is None else _total(total)
        self._note_text = ""
        self._changes = 1  # a progress that has begun is shown, with its total
        # Of the sender, on its loop.
        self._stored = 0

    @property
    def value(self) -> Number:
        """How much is done."""
        return self._value

    @property
    def total(self) -> Number | None:
        """How much there is to do, if it is known."""
        return self._total

    @property
    def note(self) -> str:
        """What was said last."""
        return self._note_text

    def advance(self, n: Number = 1, *, note: str | None = None) -> None:
        """Add ``n``, which may be negative; this does not wait for the network."""
        self.set(self._value + _number(n, "n"), note=note)

    def set(
        self,
        value: Number | None = None,
        *,
        total: Number | None = None,
        note: str | None = None,
    ) -> None:
        """Set what is given; this does not wait for the network."""
        self._require_writing()
        new_total = self._total if total is None else _total(total)
        new_value = self._value if value is None else _number(value, "value")
        new_value = max(0, new_value)
        self._note_text = _note(note, self._note_text)
        self._total = new_total
        self._value = new_value if new_total is None else min(new_value, new_total)
        self._changes += 1
        self._changed()

    async def aadvance(self, n: Number = 1, *, note: str | None = None) -> None:
        """Async version of advance()."""
        self.advance(n, note=note)

    async def aset(
        self,
        value: Number | None = None,
        *,
        total: Number | None = None,
        note: str | None = None,
    ) -> None:
        """Async version of set()."""
        self.set(value, total=total, note=note)

    def finish(self, *, note: str | None = None) -> None:
        """End it: all is done, whatever was counted."""
        self._require_writing()
        self._note_text = _note(note, self._note_text)
        self._end("finished")

    async def afinish(self, *, note: str | None = None) -> None:
        """Async version of finish()."""
        self.finish(note=note)

    def fail(self, *, note: str | None = None) -> None:
        """End it as failed, where it is."""
        self._require_writing()
        self._note_text = _note(note, self._note_text)
        self._end("failed")

    async def afail(self, *, note: str | None = None) -> None:
        """Async version of fail()."""
        self.fail(note=note)

    def written(self) -> int:
        """Return the number of states so far."""
        return self._changes

    def stored(self) -> int:
        """Return the number of the last one that has been stored."""
        return self._stored

    def next_put(self) -> Put:
        """Return the whole state: a page needs only the last one."""
        state, at = self._state, self._changes
        return self._put(state, at)

    def _whole_end(self) -> Put:
        return self._put(self._state, self._changes)

    def _end(self, state: TextState) -> None:
        if state == "finished":
            self._value = self._total = 1 if not self._total else self._total
        self._changes += 1
        super()._end(state)

    def _put(self, state: TextState, at: int) -> Put:
        said = {"value": self._value, "total": self._total}
        data = json.dumps(said | {"note": self._note_text or None})
        return Put(self.place, self._writer, self._run, at, data, at, "progress", state)

    def _store(self, put: Put, stored: Stored) -> None:
        self._stored = stored.at


def _number(value: Number, name: str) -> Number:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a number, not {value!r:.100}.")
    if not abs(value) <= LARGEST:  # NaN is not, either
        raise ValueError(f"{name} is a finite number, of at most {LARGEST:g}.")
    return value


def _total(total: Number) -> Number:
    if _number(total, "total") < 0:
        raise ValueError(f"total is not negative, as {total!r} is.")
    return total


def _note(note: str | None, before: str) -> str:
    if note is None:
        return before
    if not isinstance(note, str):
        raise TypeError(f"note is a string, not {note!r:.100}.")
    note = whole(note)
    return note if len(note) <= LONGEST_NOTE else f"{note[: LONGEST_NOTE - 1]}…"
