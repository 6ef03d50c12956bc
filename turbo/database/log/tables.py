"""
The tables of the replay log in one database.

A stream has one row, which is locked by whoever appends, so its messages are committed
in the order of their numbers. Times are microseconds of the database's clock and grow
with every message of a stream. Old messages are deleted now and then; a message that is
older than ``age`` counts as lost, whether it has been deleted or not.

An epoch ends when the database may have lost data: :mod:`turbo.database.server` says
how that is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from django.db import connections
from django.db.models import QuerySet

from turbo.database.models import LogMessage, LogStream
from turbo.database.server import Server, ask_server, delete

__all__ = [
    "AT_ONCE",
    "JUST",
    "LogTables",
    "bytes_of",
    "portions",
    "skipping",
    "text_of",
]

T = TypeVar("T")

#: A batch that was sent so shortly before an epoch is not a repetition yet.
JUST = 5_000_000
#: The most streams or keys in one query.
AT_ONCE = 100
#: What a new or changed stream writes.
COLUMNS = ("epoch", "data", "tip", "last", "cut", "unknown", "owes_gap", "until")


class LogTables:
    """
    What all work with the tables needs; times are microseconds.

    The log keeps ``length`` messages of a stream for a time of ``age``, and what it
    knows of the stream for a time of ``keep``. ``words()`` returns new words.
    """

    def __init__(
        self, alias: str, *, length: int, age: int, keep: int, words: Callable[[], str]
    ) -> None:
        self.alias = alias
        self.length = length
        self.age = age
        self.keep = keep
        self.words = words

    def server(self, *, renew: bool = False) -> Server:
        """Return what the server says; ``renew`` what identifies the log."""
        return ask_server(self.alias, self.words(), renew=renew)

    def messages(self) -> QuerySet[LogMessage]:
        """Return all messages."""
        return LogMessage.objects.using(self.alias)

    def streams(self) -> QuerySet[LogStream]:
        """Return all streams."""
        return LogStream.objects.using(self.alias)

    def cut(self, stream: LogStream, now: int) -> int:
        """Return a time after which no message of the stream was lost."""
        return max(stream.cut, min(stream.last, now - self.age))

    def lock(self, sids: Sequence[str]) -> Mapping[str, LogStream]:
        """Lock the rows of the streams, which are made if necessary."""
        found = self._find(sids)
        if missing := [sid for sid in sids if sid not in found]:
            self._make(missing)
            found = self._find(sids)
        return found

    def _find(self, sids: Sequence[str]) -> dict[str, LogStream]:
        rows = self.streams().filter(sid__in=sids)
        return {row.sid: row for row in rows.order_by("sid").select_for_update()}

    def _make(self, sids: Sequence[str]) -> None:
        """Make streams that were never used, or not for so long that they went."""
        server = self.server()
        # Their messages went before them.
        cut = server.now - self.keep
        self.streams().bulk_create(
            [
                LogStream(
                    sid=sid,
                    epoch=self.words(),
                    data=server.data,
                    last=cut,
                    cut=cut,
                    unknown=server.now - JUST,
                    until=server.now + self.keep,
                )
                for sid in sids
            ],
            ignore_conflicts=True,
        )

    def renew_if_lost(self, stream: LogStream, server: Server) -> bool:
        """Begin a new epoch if the database may have lost what the stream had."""
        if stream.data == server.data:
            return False
        delete(self.messages().filter(sid=stream.sid))
        # A moment of these data is later than anything that was written before.
        stream.tip = stream.last = stream.cut = 0
        stream.epoch, stream.data = self.words(), server.data
        stream.unknown, stream.owes_gap = server.now - JUST, False
        stream.until = server.now + self.keep
        return True

    def save(self, streams: Sequence[LogStream]) -> None:
        """Write all that may have changed of streams that are locked."""
        self.streams().bulk_create(
            streams, update_conflicts=True, update_fields=COLUMNS, **self.by("sid")
        )

    def by(self, name: str) -> Mapping[str, Any]:
        """Return the argument that says in which column rows conflict, if it may."""
        features: Any = connections[self.alias].features
        named = features.supports_update_conflicts_with_target
        return {"unique_fields": [name]} if named else {}


def portions(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield the items, at most ``AT_ONCE`` of them together."""
    left = list(items)
    for start in range(0, len(left), AT_ONCE):
        yield left[start : start + AT_ONCE]


def skipping(alias: str) -> Mapping[str, Any]:
    """Return the argument that leaves out what others have locked, if it may."""
    features: Any = connections[alias].features
    return {"skip_locked": True} if features.has_select_for_update_skip_locked else {}


def bytes_of(data: str) -> bytes:
    """Return a message as it is kept; a text of PostgreSQL cannot hold all of them."""
    return data.encode(errors="surrogatepass")


def text_of(data: bytes | memoryview) -> str:
    """Return a message that was kept."""
    return bytes(data).decode(errors="surrogatepass")
