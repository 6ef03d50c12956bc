"""Reading the tables of the log, as they are at one time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from operator import or_
from typing import NamedTuple

from django.db.models import Q

from turbo.database.log.tables import LogTables, portions
from turbo.database.models import LogStream
from turbo.database.server import Server, snapshot, writing
from turbo.replay.base import Entry, History
from turbo.replay.positions import Moment, Position, parse

__all__ = ["LogReader"]


class _Row(NamedTuple):
    number: int
    time: int
    data: bytes | memoryview | None


class LogReader:
    """Reads the log."""

    def __init__(self, tables: LogTables) -> None:
        self._tables = tables

    def read(self, requests: Sequence[tuple[str, str]]) -> tuple[list[History], Server]:
        """
        Return the history of each stream, as if all moments belonged to the data.

        Also return what the server said after that.
        """
        places = [(sid, parse(since) if since else None) for sid, since in requests]
        sids = sorted({sid for sid, _ in requests})
        with snapshot(self._tables.alias):
            streams = self._streams(sids)
            server = self._tables.server()
            found = self._suffixes(places, streams)
        if lost := [s for s in sids if not _is_of(streams.get(s), server.data)]:
            streams |= self._open(lost)
        histories = []
        for (sid, since), (_, place) in zip(requests, places, strict=True):
            stream = streams[sid]
            if not since:
                histories.append(History(stream.epoch, stream.tip))
                continue
            rows = [] if sid in lost else found.get(sid, [])
            entries = self._entries(stream, place, rows, server.now)
            histories.append(
                History(stream.epoch, stream.tip, complete=False)
                if entries is None
                else History(stream.epoch, stream.tip, tuple(entries))
            )
        return histories, server

    def _streams(self, sids: Iterable[str]) -> dict[str, LogStream]:
        rows = self._tables.streams()
        return {
            row.sid: row for some in portions(sids) for row in rows.filter(sid__in=some)
        }

    def _open(self, sids: Sequence[str]) -> dict[str, LogStream]:
        """Give streams an epoch that have none of the present data."""
        with writing(self._tables.alias):
            streams = self._tables.lock(sids)
            server = self._tables.server()
            renewed = [
                stream
                for stream in streams.values()
                if self._tables.renew_if_lost(stream, server)
            ]
            self._tables.save(renewed)
        return dict(streams)

    def _suffixes(
        self,
        places: Iterable[tuple[str, Position | Moment | None]],
        streams: Mapping[str, LogStream],
    ) -> dict[str, list[_Row]]:
        """Return the messages of each stream from the earliest of its places on."""
        wanted = [
            Q(sid=sid, number__gt=place.number)
            if isinstance(place, Position)
            else Q(sid=sid, time__gte=place.time)
            for sid, place in places
            if place and _is_behind(streams.get(sid), place)
        ]
        found: dict[str, list[_Row]] = {}
        for some in portions(wanted):
            rows = self._tables.messages().filter(reduce(or_, some))
            rows = rows.order_by("sid", "number")
            columns = "sid", "number", "time", "data"
            for sid, number, time, data in rows.values_list(*columns):
                found.setdefault(sid, []).append(_Row(number, time, data))
        return found

    def _entries(
        self,
        stream: LogStream,
        place: Position | Moment | None,
        rows: Sequence[_Row],
        now: int,
    ) -> Iterator[Entry] | None:
        """Return the entries since a place, or ``None`` if they may be incomplete."""
        floor = place.floor if isinstance(place, Position) else place
        if isinstance(place, Position):
            missed = stream.tip - place.number
            if place.epoch != stream.epoch or missed < 0:
                return None
            fresh = [row for row in rows if row.time > now - self._tables.age]
            fresh = [row for row in fresh if row.number > place.number]
            if len(fresh) == missed:
                return _read(fresh, floor)
        if floor is None or floor.time > now:
            return None
        if stream.last >= floor.time and self._tables.cut(stream, now) >= floor.time:
            return None
        return _read(rows, floor)

    def tips(self, sids: Sequence[str]) -> tuple[list[LogStream | None], Server]:
        """Return what is known of each stream, and keep it."""
        streams = self._streams(sids)
        server = self._tables.server()
        early = server.now + self._tables.keep // 2
        if ending := [s.sid for s in streams.values() if s.until < early]:
            rows = self._tables.streams().filter(sid__in=ending)
            rows.update(until=server.now + self._tables.keep)
        found = [streams.get(sid) for sid in sids]
        return [s if _is_of(s, server.data) else None for s in found], server


def _is_of(stream: LogStream | None, data: str) -> bool:
    """Return whether a stream has an epoch of the present data."""
    return stream is not None and stream.data == data


def _is_behind(stream: LogStream | None, place: Position | Moment) -> bool:
    """Return whether there may be messages after a place."""
    if stream is None:
        return False
    if isinstance(place, Moment):
        return stream.last >= place.time
    return place.epoch == stream.epoch and place.number < stream.tip


def _read(rows: Iterable[_Row], floor: Moment | None) -> Iterator[Entry]:
    for number, time, data in rows:
        if floor is None or time >= floor.time:
            yield Entry(
                number,
                None if data is None else bytes(data).decode(errors="surrogatepass"),
            )
