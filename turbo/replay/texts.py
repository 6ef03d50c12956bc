"""
Growing texts and progress, which a log keeps beside its messages.

A text stands under the id of a stream and an id of its own. One writer at a time puts
parts into it. The writer holds a lease that each of its puts renews; when it has been
silent for ``LEASE`` seconds, or has ended the text, another one may begin anew. Each
writer has a *run*, and those of one text grow, so that what was sent by an earlier
writer is recognised.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias

from turbo.exceptions import ConfigurationError

__all__ = [
    "LEASE",
    "LONGEST",
    "MemoryTexts",
    "NoTexts",
    "Put",
    "Stored",
    "StoredText",
    "TextKind",
    "TextPlace",
    "TextState",
    "Texts",
]

#: Seconds after which a writer that has put nothing counts as gone.
LEASE = 30.0
#: The most characters of a text.
LONGEST = 262_144

#: What is kept: growing text, the final HTML, or the JSON of a progress.
TextKind: TypeAlias = Literal["text", "html", "progress"]
#: ``silent`` is a text whose writer has not renewed its lease.
TextState: TypeAlias = Literal["writing", "finished", "failed", "silent"]


class TextPlace(NamedTuple):
    """Where a text is kept: the id of its stream, and its own."""

    stream: str
    id: str


class Put(NamedTuple):
    """
    A part that a writer puts into its text, which may be empty.

    Text is put behind the first ``start`` characters; everything else takes the place
    of what is there. ``run`` is ``0`` before the first answer. ``at`` is the length of
    the text afterwards; for a progress it is the number of its states so far.
    """

    place: TextPlace
    writer: str
    run: int
    start: int
    data: str
    at: int
    kind: TextKind = "text"
    state: TextState = "writing"


class Stored(NamedTuple):
    """
    The answer to a put: the writer's run, and how far the text is stored now.

    If this is not ``at``, nothing was stored, and the writer puts again what follows.
    A run of ``0`` means that another writer has the text.
    """

    run: int
    at: int


class StoredText(NamedTuple):
    """A text as it is stored."""

    run: int
    at: int
    state: TextState
    kind: TextKind
    data: str


class Texts(ABC):
    """
    The texts of a log.

    The coroutines may be awaited on any event loop. They raise the exceptions of the
    network, such as :exc:`OSError`; a put may then be repeated. Any other exception
    says that something cannot be stored; puts that came with it are repeated one by
    one. A text is kept for ``age`` seconds after the last put.
    """

    @abstractmethod
    async def put(self, puts: Sequence[Put]) -> list[Stored]:
        """
        Store parts of texts, in one round trip.

        Several may be for one text, from different writers; the first one counts first.
        """

    @abstractmethod
    async def read(self, places: Sequence[TextPlace]) -> list[StoredText | None]:
        """Return each text, or ``None`` if there is none, in one round trip."""


class NoTexts(Texts):
    """What a log has that keeps no texts, such as one of a project's own."""

    async def put(self, puts: Sequence[Put]) -> list[Stored]:
        """Raise an error that says what to do."""
        raise ConfigurationError(NONE)

    async def read(self, places: Sequence[TextPlace]) -> list[StoredText | None]:
        """Raise an error that says what to do."""
        raise ConfigurationError(NONE)


NONE = (
    "The replay log of TURBO['REPLAY_BACKEND'] keeps no growing texts: give it an "
    "attribute `texts`, an object of a subclass of turbo.replay.texts.Texts."
)


@dataclass(slots=True)
class _Held:
    run: int
    writer: str
    at: int
    state: TextState
    kind: TextKind
    parts: list[str]
    put: float  # time of the last put


class MemoryTexts(Texts):
    """
    Texts in the memory of a process; any thread may use them.

    If there are more than ``limit``, those are dropped that were not put for longest;
    so are those that are too old.
    """

    def __init__(
        self,
        *,
        age: float,
        limit: int = 10_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._age = age
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()  # owns _held
        self._held: OrderedDict[TextPlace, _Held] = OrderedDict()

    async def put(self, puts: Sequence[Put]) -> list[Stored]:
        """Store parts of texts; never waits."""
        with self._lock:
            return [self._put(put, self._clock()) for put in puts]

    async def read(self, places: Sequence[TextPlace]) -> list[StoredText | None]:
        """Return each text; never waits."""
        with self._lock:
            return [self._read(place, self._clock()) for place in places]

    def _put(self, put: Put, now: float) -> Stored:
        held = self._find(put.place, now)
        if held is None or held.writer != put.writer:
            if held is not None and (put.run or self._is_taken(held, now)):
                return Stored(0, 0)
            last = held.run if held is not None else 0
            run = put.run or max(time.time_ns() // 1_000, last + 1)
            held = _Held(run, put.writer, 0, "writing", put.kind, [], now)
            self._held[put.place] = held
        if held.state == "writing":
            self._change(held, put)
        held.put = now
        self._held.move_to_end(put.place)
        self._drop(now)
        return Stored(held.run, held.at)

    def _change(self, held: _Held, put: Put) -> None:
        if put.kind != "text":
            held.parts = [put.data]
        elif put.start == held.at:
            held.parts.append(put.data)
        else:
            return
        held.at, held.kind, held.state = put.at, put.kind, put.state

    def _read(self, place: TextPlace, now: float) -> StoredText | None:
        held = self._find(place, now)
        if held is None:
            return None
        state = held.state
        if state == "writing" and not self._is_taken(held, now):
            state = "silent"
        return StoredText(held.run, held.at, state, held.kind, "".join(held.parts))

    def _find(self, place: TextPlace, now: float) -> _Held | None:
        held = self._held.get(place)
        return None if held is None or self._is_old(held, now) else held

    def _drop(self, now: float) -> None:
        # Two at each put, which adds one at most.
        for place, held in list(islice(self._held.items(), 2)):
            if len(self._held) > self._limit or self._is_old(held, now):
                del self._held[place]

    def _is_old(self, held: _Held, now: float) -> bool:
        return now >= held.put + self._age

    def _is_taken(self, held: _Held, now: float) -> bool:
        return held.state == "writing" and now < held.put + LEASE
