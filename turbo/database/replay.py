"""The replay log in the database, shared by all processes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from turbo.conf import get_settings
from turbo.database.log.appending import LogAppender, Message
from turbo.database.log.keys import Keys, sweep
from turbo.database.log.leases import DatabaseLeases, sweep_leases
from turbo.database.log.reading import LogReader
from turbo.database.log.tables import LogTables
from turbo.database.log.texts import DatabaseTexts, sweep_texts
from turbo.database.server import Server
from turbo.database.thread import DatabaseThread
from turbo.replay.attempts import Attempts
from turbo.replay.base import Append, Appended, History, RoutingLog
from turbo.replay.clock import Reading
from turbo.replay.clocks import Clocks, monotonic
from turbo.replay.leases import Leases
from turbo.replay.positions import parse
from turbo.replay.texts import Texts
from turbo.replay.words import Words

__all__ = ["DatabaseReplay"]

T = TypeVar("T")

#: The fewest seconds that a stream's epoch is kept after its messages.
DAY = 86_400
#: Microseconds between two deletions of what is too old.
SWEEP = 60_000_000


class DatabaseReplay(RoutingLog):
    """
    A log in the tables of ``turbo.database``.

    Several sites may share the tables if each has a ``prefix`` of its own.

    It does not know which process shows which stream: all processes get one message
    for all streams of a batch. Nothing is written when a page begins to show a stream.
    """

    supports_processes = True

    def __init__(
        self,
        *,
        alias: str = "default",
        prefix: str = "turbo",
        length: int = 100,
        age: float = 300.0,
        memory: float = DAY,
        text_age: float = 3_600.0,
        monotonic: Callable[[], int] = monotonic,
    ) -> None:
        super().__init__(length=length, age=age)
        self._clocks = Clocks(1, monotonic=monotonic)
        self._monotonic = monotonic
        self._prefix = prefix
        self._thread = DatabaseThread("turbo-log", alias)
        self._attempts = Attempts()
        self._swept = monotonic()
        self._tables = LogTables(
            alias,
            length=length,
            age=max(1, _microseconds(age)),
            keep=_microseconds(age + max(memory, DAY)),
            words=Words().new,
        )
        self._appender = LogAppender(self._tables)
        self._reader = LogReader(self._tables)
        self._keys = Keys(self._tables)
        self._texts = DatabaseTexts(
            self._thread, self._tables, prefix=prefix, age=text_age
        )
        self._leases = DatabaseLeases(self._tables, self._thread, prefix)

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Return the keyword arguments from the settings."""
        settings = get_settings()
        return super().options() | {
            "alias": settings.database,
            "prefix": settings.replay_prefix,
            "memory": settings.signed_name_max_age,
            "text_age": settings.text_age,
        }

    @property
    def texts(self) -> Texts:
        """Where growing texts are kept beside the messages."""
        return self._texts

    @property
    def leases(self) -> Leases:
        """Where all processes note who is present in a stream."""
        return self._leases

    def moment(self) -> str:
        """Return an estimated time that the clock of the database has passed."""
        return self._clocks.moment()

    def moment_of_change(self) -> str:
        """Return a moment; or our own time, if the database's is not known yet."""
        return self._clocks.moment_of_change()

    async def append(self, appends: Sequence[Append]) -> list[Appended]:
        """Number and store messages, in one transaction."""
        if not appends:
            return []
        if not self._clocks.floors()[0]:
            await self.sync_clock()
        attempt = self._attempts.begin(appends, self._clocks.floors)
        try:
            appended = await self._thread.arun(
                self._appender.append,
                [self._message(item) for item in appends],
                producer=attempt.producer,
                number=attempt.number,
                sent=attempt.sent[0],
                known=self._clocks.process(0),
            )
        except BaseException:
            self._attempts.fail(attempt)
            raise
        self._attempts.succeed(attempt)
        return appended

    async def read(
        self, requests: Sequence[tuple[str, str]], *, channel: str = ""
    ) -> list[History]:
        """Return the history of each stream, as of one time."""
        if not requests:
            return []
        wanted = [(self._sid(stream), since) for stream, since in requests]
        (histories, _), reading = await self._ask(self._reader.read, wanted)
        return [
            history
            if self._clocks.proves(parse(since), 0, reading) or not since
            else History(history.epoch, history.tip, complete=False)
            for (_, since), history in zip(requests, histories, strict=True)
        ]

    async def tips(
        self, streams: Sequence[str], *, channel: str = ""
    ) -> list[tuple[str, int] | None]:
        """Return each stream's last position, and keep its epoch alive."""
        if not streams:
            return []
        sids = [self._sid(stream) for stream in streams]
        (found, _), _ = await self._ask(self._reader.tips, sids)
        known = zip(streams, found, strict=True)
        if owed := [stream for stream, row in known if row and row.owes_gap]:
            await self.append([Append(stream, None) for stream in owed])
            (found, _), _ = await self._ask(self._reader.tips, sids)
        return [(row.epoch, row.tip) if row else None for row in found]

    async def hide(self, stream: str, channel: str) -> None:
        """Do nothing: it is not known who shows the stream."""

    async def sync_clock(self) -> None:
        """Read the database's clock; now and then delete what is too old."""
        _, reading = await self._ask(self._server)
        if not reading.identity:
            # It was set back: nothing can be proved about what lies in its future.
            await self._ask(lambda: self._server(renew=True))
        if self._monotonic() - self._swept > SWEEP:
            self._swept = self._monotonic()
            await self._thread.arun(sweep, self._tables)
            await self._thread.arun(sweep_texts, self._tables)
            await self._thread.arun(sweep_leases, self._tables)

    async def claim(self, key: str, *, seconds: float) -> float:
        """Take ``key`` among all processes."""
        [remaining] = await self.claim_each([key], seconds=seconds)
        return remaining

    async def claim_each(self, keys: Sequence[str], *, seconds: float) -> list[float]:
        """Take each key among all processes, in one transaction."""
        if not keys:
            return []
        own = [self._key(key, "claim") for key in keys]
        lasting = max(1, _microseconds(seconds))
        left = await self._thread.arun(self._keys.claim, own, lasting=lasting)
        return [microseconds / 1_000_000 for microseconds in left]

    async def forbid(self, keys: Sequence[str], *, seconds: int) -> None:
        """Note the revocations for all processes."""
        if not self._clocks.floors()[0]:
            await self.sync_clock()
        await self._thread.arun(
            self._keys.forbid,
            [self._key(key, "forbid") for key in keys],
            lasting=_microseconds(seconds),
            ceiling=self._clocks.ceiling(0),
        )

    async def forbidden(self, keys: Sequence[str]) -> list[int | None]:
        """Return the revocations by all processes."""
        if not keys:
            return []
        own = [self._key(key, "forbid") for key in keys]
        (times, _), _ = await self._ask(self._keys.forbidden, own)
        return [times.get(key) for key in own]

    async def aclose(self) -> None:
        """Close the connection; it is opened again when it is needed."""
        await self._thread.aclose()

    def _server(self, *, renew: bool = False) -> tuple[None, Server]:
        return None, self._tables.server(renew=renew)

    async def _ask(
        self, ask: Callable[..., tuple[T, Server]], *args: Any
    ) -> tuple[tuple[T, Server], Reading]:
        """Return an answer and a reading of the clock that belongs to it."""

        def timed() -> tuple[tuple[T, Server], Reading]:
            sent = self._monotonic()
            answer = ask(*args)
            word, data, now = answer[1]
            identity = hashlib.sha1(f"{word} {data}".encode()).hexdigest()[:10]
            received = self._monotonic()
            reading = Reading.take(identity, data, now, sent=sent, received=received)
            return answer, self._clocks.note(0, reading)

        return await self._thread.arun(timed)

    def _message(self, item: Append) -> Message:
        names = frozenset(item.key.split("\n")) - {""}
        since = self._clocks.since(item, 0)
        return Message(self._sid(item.stream), names, item.writer, since, item.data)

    def _sid(self, stream: str) -> str:
        return f"{self._prefix}:{stream}"

    def _key(self, key: str, kind: str) -> str:
        text = f"{self._prefix} {kind} {key}"
        return hashlib.sha256(text.encode()).hexdigest()


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)
