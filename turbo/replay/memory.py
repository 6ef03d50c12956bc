"""A replay log in the memory of one process, for development and tests."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from turbo.replay.base import Append, Appended, Entry, History
from turbo.replay.local import LocalReplay
from turbo.replay.positions import Moment, Position, parse

__all__ = ["MemoryReplay"]


@dataclass(frozen=True, slots=True)
class _Held:
    tick: int
    stored: float  # time of the clock by which entries expire
    entry: Entry
    key: str
    writer: str


@dataclass(slots=True)
class _Stream:
    epoch: str
    #: No entry later than this tick was lost.
    cut: int
    #: Tick of the last append.
    last: int
    tip: int = 0
    #: Whether a message was overtaken and no gap marker has followed.
    owes_gap: bool = False
    held: deque[_Held] = field(default_factory=deque)


class MemoryReplay(LocalReplay):
    """
    A log that ends with its process.

    Its time is a counter: the number of messages appended so far. Any thread may use
    it. If there are more than ``streams`` streams, it drops those not used for longest;
    such a stream begins a new epoch.
    """

    supports_processes = False

    def __init__(
        self,
        *,
        length: int = 100,
        age: float = 300.0,
        streams: int = 10_000,
        text_age: float = 3_600.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(length=length, age=age, text_age=text_age, clock=clock)
        self._limit = streams
        self._clock = clock
        self._identity = secrets.token_hex(5)
        self._lock = threading.Lock()  # owns all fields below
        self._tick = 0
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self._forgotten = 0  # last tick of the dropped streams

    def moment(self) -> str:
        """Return the number of the next append: ``"@8.1f0c9a7d2e"``."""
        return str(Moment(self._tick + 1, (self._identity,)))

    def tick(self) -> int:
        """Return the number of the next append, and skip it."""
        with self._lock:
            self._tick += 1
            return self._tick

    async def append(self, appends: Sequence[Append]) -> list[Appended]:
        """Number and keep messages; never waits."""
        with self._lock:
            return [self._append(item) for item in appends]

    async def read(self, requests: Sequence[tuple[str, str]]) -> list[History]:
        """Return the history of each stream; never waits."""
        with self._lock:
            return [self._read(stream, since) for stream, since in requests]

    async def tips(self, streams: Sequence[str]) -> list[tuple[str, int] | None]:
        """Return each stream's last position; never waits."""
        with self._lock:
            known = [self._streams.get(stream) for stream in streams]
            for name, found in zip(streams, known, strict=True):
                if found and found.owes_gap:
                    self._append(Append(name, None))
            return [(found.epoch, found.tip) if found else None for found in known]

    def _open(self, name: str) -> _Stream:
        stream = self._streams.get(name)
        if stream is None:
            if len(self._streams) >= self._limit:
                _, dropped = self._streams.popitem(last=False)
                self._forgotten = max(self._forgotten, dropped.last)
            stream = _Stream(secrets.token_hex(5), self._forgotten, self._forgotten)
            self._streams[name] = stream
        self._streams.move_to_end(name)
        if stream.held and stream.held[-1].stored <= self._clock() - self.age:
            stream.held.clear()
            stream.cut = stream.last
        return stream

    def _append(self, item: Append) -> Appended:
        stream = self._open(item.stream)
        overtaken = self._overtaken(stream, item)
        now = self._clock()
        self._tick += 1
        stream.tip += 1
        stream.last = self._tick
        stream.owes_gap = item.data is not None and (overtaken or stream.owes_gap)
        entry = Entry(stream.tip, item.data)
        stream.held.append(_Held(self._tick, now, entry, item.key, item.writer))
        while len(stream.held) > self.length or (
            stream.held[0].stored < now - self.age
        ):
            stream.cut = stream.held.popleft().tick
        return Appended(stream.epoch, stream.tip, overtaken)

    def _overtaken(self, stream: _Stream, item: Append) -> bool:
        if not item.key or not item.moment:
            return False
        moment = parse(item.moment)
        since = 0
        if isinstance(moment, Moment):
            since = moment.time
            if moment.hosts != (self._identity,) or stream.cut >= since:
                return True
        names = set(item.key.split("\n"))
        return any(
            held.writer != item.writer and not names.isdisjoint(held.key.split("\n"))
            for held in stream.held
            if held.tick >= since
        )

    def _read(self, name: str, since: str) -> History:
        stream = self._open(name)
        if not since:
            return History(stream.epoch, stream.tip)
        place = parse(since)
        entries: Iterable[_Held] | None = None
        if isinstance(place, Position):
            entries = self._since_position(stream, place)
        elif isinstance(place, Moment):
            entries = self._since_moment(stream, place)
        if entries is None:
            return History(stream.epoch, stream.tip, complete=False)
        return History(stream.epoch, stream.tip, tuple(held.entry for held in entries))

    def _since_position(
        self, stream: _Stream, place: Position
    ) -> Iterable[_Held] | None:
        missed = stream.tip - place.number
        if place.epoch != stream.epoch or missed < 0:
            return None
        if place.floor is None:
            return self._last(stream, missed)
        if not self._knows(place.floor):
            return None
        if missed > len(stream.held):  # the dropped ones may be before the floor
            return self._since_moment(stream, place.floor)
        since = place.floor.time
        return (h for h in self._last(stream, missed) or () if h.tick >= since)

    def _last(self, stream: _Stream, count: int) -> Iterable[_Held] | None:
        first = len(stream.held) - count
        return None if first < 0 else islice(stream.held, first, None)

    def _since_moment(self, stream: _Stream, place: Moment) -> Iterable[_Held] | None:
        if not self._knows(place) or stream.cut >= place.time:
            return None
        return (held for held in stream.held if held.tick >= place.time)

    def _knows(self, moment: Moment) -> bool:
        return moment.hosts == (self._identity,) and moment.time <= self._tick + 1
