"""
Compare what was sent with what each page has shown.

A page is right if it equals a page that is loaded now. When a page is told that
something is missing, it loads itself again: from then on it needs only what was handed
over later. So a message is lost silently if it was handed over after the last reset of
a page, and that page has not shown it since. Between two resets no message may be shown
twice, or after a newer one of the same writer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields

__all__ = ["Place", "Record", "Result", "Writer", "compare"]


@dataclass(frozen=True, slots=True)
class Place:
    """A position in the stream of a page."""

    epoch: str
    number: int

    @classmethod
    def parse(cls, text: str) -> Place:
        epoch, _, number = text.rpartition(":")
        return cls(epoch, int(number))


@dataclass(slots=True)
class Writer:
    """What one process has handed over, and whether it was killed."""

    name: str
    #: By stream: the time just before each message was handed over, by its number.
    sent: dict[int, dict[int, float]] = field(default_factory=dict)
    killed: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """One message that a page has shown."""

    place: Place
    writer: str
    number: int


@dataclass(slots=True)
class Record:
    """What one page of one stream has shown; it begins with its first reset."""

    stream: int
    resets: list[tuple[float, Place]] = field(default_factory=list)
    #: What was shown after each reset.
    runs: list[list[Shown]] = field(default_factory=list)

    def reset(self, at: float, place: Place) -> None:
        """Note that the page was loaded, or was told to load itself again."""
        self.resets.append((at, place))
        self.runs.append([])

    def show(self, place: Place, writer: str, number: int) -> None:
        """Note that the page has applied a message."""
        self.runs[-1].append(Shown(place, writer, number))


@dataclass(slots=True)
class Result:
    """The sum over all pages; what must be 0 is in ``violations``."""

    sent: int = 0
    #: Of a killed writer: the end of its queue, which nobody can know of.
    unsent: int = 0
    shown: int = 0
    gaps: int = 0
    lost: int = 0
    doubled: int = 0
    disordered: int = 0
    #: Two pages, or a page and the log, have other messages at one position.
    different: int = 0
    #: Shown again after a reset. The page may have it from its view already.
    again: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def violations(self) -> int:
        return self.lost + self.doubled + self.disordered + self.different

    def __str__(self) -> str:
        numbers = (f for f in fields(self) if f.name != "notes")
        return " ".join(f"{f.name}={getattr(self, f.name)}" for f in numbers)


def compare(
    writers: Iterable[Writer],
    records: Iterable[Record],
    log: Mapping[tuple[int, Place], tuple[str, int]] | None = None,
) -> Result:
    """Return what the pages have shown; ``log`` is what the replay log has kept."""
    writers, records = list(writers), list(records)
    result = Result(sent=sum(len(s) for w in writers for s in w.sent.values()))
    reached = _reached(records, log or {})
    wanted = {w.name: _stored(w, reached) for w in writers}
    stored = sum(len(s) for streams in wanted.values() for s in streams.values())
    result.unsent = result.sent - stored
    known = dict(log or {})
    for page, record in enumerate(records):
        _check_runs(result, page, record)
        _check_end(result, page, record, wanted)
        for shown in (shown for run in record.runs for shown in run):
            message = shown.writer, shown.number
            if known.setdefault((record.stream, shown.place), message) != message:
                result.different += 1
                result.notes.append(f"page {page} has {message} at {shown.place}")
    return result


def _reached(
    records: Iterable[Record], log: Mapping[tuple[int, Place], tuple[str, int]]
) -> dict[tuple[str, int], int]:
    """Return the last message of each writer in each stream that anybody has seen."""
    seen = [(stream, *message) for (stream, _), message in log.items()]
    seen += [
        (record.stream, shown.writer, shown.number)
        for record in records
        for run in record.runs
        for shown in run
    ]
    reached: dict[tuple[str, int], int] = {}
    for stream, writer, number in seen:
        key = writer, stream
        reached[key] = max(number, reached.get(key, 0))
    return reached


def _stored(
    writer: Writer, reached: Mapping[tuple[str, int], int]
) -> dict[int, dict[int, float]]:
    """Return what the writer has sent, without the queue that died with it."""
    if not writer.killed:
        return writer.sent
    return {
        stream: {
            number: at
            for number, at in sent.items()
            if number <= reached.get((writer.name, stream), 0)
        }
        for stream, sent in writer.sent.items()
    }


def _check_runs(result: Result, page: int, record: Record) -> None:
    """Count what comes twice, or after a newer one, between two resets."""
    result.gaps += max(0, len(record.resets) - 1)
    before: set[tuple[str, int]] = set()
    for run in record.runs:
        last: dict[str, int] = {}
        seen: set[tuple[str, int]] = set()
        for shown in run:
            message = shown.writer, shown.number
            if message in seen:
                result.doubled += 1
                result.notes.append(f"page {page} has {message} twice at {shown.place}")
            elif shown.number < last.get(shown.writer, 0):
                result.disordered += 1
                result.notes.append(f"page {page} has {message} late at {shown.place}")
            last[shown.writer] = max(shown.number, last.get(shown.writer, 0))
            seen.add(message)
        result.again += len(seen & before)
        result.shown += len(run)
        before |= seen


def _check_end(
    result: Result,
    page: int,
    record: Record,
    wanted: Mapping[str, Mapping[int, Mapping[int, float]]],
) -> None:
    """Count what the page lacks, and whether its positions skip one."""
    (began, place), run = record.resets[-1], record.runs[-1]
    seen = {(shown.writer, shown.number) for shown in run}
    for name, streams in wanted.items():
        for number, at in streams.get(record.stream, {}).items():
            if at > began and (name, number) not in seen:
                result.lost += 1
                result.notes.append(f"page {page} lacks {name} {number}")
    for shown in run:
        if shown.place != Place(place.epoch, place.number + 1):
            result.lost += 1
            result.notes.append(f"page {page} skips from {place} to {shown.place}")
        place = shown.place
