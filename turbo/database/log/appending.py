"""
Appending to the tables of the log, a batch in one transaction.

A producer numbers its batches, see :mod:`turbo.replay.attempts`. Its row has the number
of its last batch and the answer. A batch with the same number is a repetition and gets
the same answer; one with a smaller number was sent before it and arrives late.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from django.db.models import Max, Q

from turbo.database.log.tables import JUST, LogTables, bytes_of, portions
from turbo.database.models import LogBatch, LogMessage, LogStream
from turbo.database.server import Server, delete, writing
from turbo.replay.base import Appended

__all__ = ["LogAppender", "Message", "Stale"]


class Stale(Exception):
    """An attempt arrives that was repeated since."""


class Message(NamedTuple):
    """A message to be appended; ``since`` is what :meth:`Clocks.since` returns."""

    sid: str
    names: frozenset[str]
    writer: str
    since: str
    data: str | None


class Held(NamedTuple):
    """What is compared of a message that has been appended."""

    time: int
    names: frozenset[str]
    writer: str


@dataclass(slots=True)
class _Batch:
    """The streams of one batch, while they are locked."""

    server: Server
    #: What identified the data when the moments of the messages were compared.
    known: str
    #: Nobody knows any more whether the batch was stored; gaps are right in any case.
    is_unsure: Callable[[LogStream], bool]
    streams: Mapping[str, LogStream]
    held: dict[str, list[Held]]
    new: list[LogMessage] = field(default_factory=list)


class LogAppender:
    """Appends to the log."""

    def __init__(self, tables: LogTables) -> None:
        self._tables = tables

    def append(
        self,
        messages: Sequence[Message],
        *,
        producer: str,
        number: int,
        sent: int,
        known: str,
    ) -> list[Appended]:
        """Number and store the messages of a batch."""
        with writing(self._tables.alias):
            streams = self._tables.lock(sorted({message.sid for message in messages}))
            server = self._tables.server()
            for stream in streams.values():
                self._tables.renew_if_lost(stream, server)
            if answer := self._answered(producer, number, streams):
                return answer
            horizon = server.now - self._tables.keep

            def is_unsure(stream: LogStream) -> bool:
                return sent <= max(stream.unknown, horizon)

            held = self._held(messages, streams)
            batch = _Batch(server, known, is_unsure, streams, held)
            appended = [self._append(batch, message) for message in messages]
            self._store(batch)
            self._note(producer, number, max(server.now, sent), appended)
            return appended

    def _answered(
        self, producer: str, number: int, streams: Mapping[str, LogStream]
    ) -> list[Appended] | None:
        """Return the answer of an earlier attempt, if the epochs are still the same."""
        batches = LogBatch.objects.using(self._tables.alias)
        before = batches.filter(producer=producer).first()
        if before is None or before.number < number:
            return None
        if before.number > number:
            raise Stale("This attempt was repeated since.")
        answer = [Appended(*place) for place in json.loads(before.answer)]
        epochs = {stream.epoch for stream in streams.values()}
        return answer if epochs.issuperset(a.epoch for a in answer) else None

    def _held(
        self, messages: Iterable[Message], streams: Mapping[str, LogStream]
    ) -> dict[str, list[Held]]:
        """Return what each stream got since the moments of the messages."""
        first: dict[str, int] = {}
        for message in messages:
            since = _time(message.since)
            if since is not None and since <= streams[message.sid].last:
                first[message.sid] = min(since, first.get(message.sid, since))
        held: dict[str, list[Held]] = {sid: [] for sid in streams}
        for some in portions(list(first)):
            wanted = Q()
            for sid in some:
                wanted |= Q(sid=sid, time__gte=first[sid])
            rows = self._tables.messages().filter(wanted)
            columns = "sid", "time", "names", "writer"
            for sid, time, names, writer in rows.values_list(*columns):
                held[sid].append(Held(time, frozenset(json.loads(names)), writer))
        return held

    def _append(self, batch: _Batch, message: Message) -> Appended:
        stream, data = batch.streams[message.sid], message.data
        is_unsure = batch.is_unsure(stream)
        overtaken = not is_unsure and self._overtaken(batch, stream, message)
        if is_unsure:
            data = None
        if data is None:
            stream.owes_gap = False
        elif overtaken:
            stream.owes_gap = True
        stream.tip += 1
        stream.last = max(stream.last + 1, batch.server.now)
        batch.held[stream.sid].append(Held(stream.last, message.names, message.writer))
        batch.new.append(
            LogMessage(
                sid=stream.sid,
                number=stream.tip,
                time=stream.last,
                names=json.dumps(sorted(message.names)),
                writer=message.writer,
                data=None if data is None else bytes_of(data),
            )
        )
        return Appended(stream.epoch, stream.tip, overtaken, is_unsure)

    def _overtaken(self, batch: _Batch, stream: LogStream, message: Message) -> bool:
        since = message.since
        if not since:
            return False
        if since == "-1" or (since != "0" and batch.known != batch.server.data):
            return True  # another writer's message may be lost
        time = _time(since)
        assert time is not None
        cut = self._tables.cut(stream, batch.server.now)
        if since.startswith("?"):
            # The same, before this epoch began or this log.
            if int(since[1:]) <= max(cut, stream.unknown + JUST):
                return True
        elif time and cut >= time:
            return True
        return any(
            held.writer != message.writer and not held.names.isdisjoint(message.names)
            for held in batch.held[stream.sid]
            if held.time >= time
        )

    def _store(self, batch: _Batch) -> None:
        streams = list(batch.streams.values())
        self._tables.messages().bulk_create(batch.new)
        trimmed = Q()
        for stream in streams:
            stream.cut = self._tables.cut(stream, batch.server.now)
            stream.until = batch.server.now + self._tables.keep
            if stream.tip > self._tables.length:
                trimmed |= Q(
                    sid=stream.sid, number__lte=stream.tip - self._tables.length
                )
        if trimmed:
            rows = self._tables.messages().filter(trimmed)
            for sid, time in rows.values_list("sid").annotate(Max("time")):
                batch.streams[sid].cut = max(batch.streams[sid].cut, time)
            delete(rows)
        self._tables.save(streams)

    def _note(
        self, producer: str, number: int, time: int, appended: Sequence[Appended]
    ) -> None:
        answer = json.dumps([place[:4] for place in appended])
        LogBatch.objects.using(self._tables.alias).bulk_create(
            [LogBatch(producer=producer, number=number, answer=answer, time=time)],
            update_conflicts=True,
            update_fields=["number", "answer", "time"],
            **self._tables.by("producer"),
        )


def _time(since: str) -> int | None:
    """Return the time from which on others' messages matter, if there is any."""
    if since in ("", "-1"):
        return None
    return 0 if since.startswith("?") else int(since)
