"""The leases in the tables of the database, shared by all processes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence

from django.db.models import QuerySet

from turbo.database.log.tables import LogTables, portions, skipping
from turbo.database.models import LeaseMember, LeaseWatch
from turbo.database.server import Server, delete, writing
from turbo.database.thread import DatabaseThread
from turbo.replay.leases import (
    MOST,
    Change,
    Known,
    Lease,
    Leases,
    Look,
    Looking,
    Member,
)

__all__ = ["DatabaseLeases", "sweep_leases"]

#: Microseconds for which a look is not noted again.
SPELL = 1_500_000
#: Microseconds after which what nobody looks at goes away.
KEEP = 86_400_000_000
#: What a member writes when it changes.
COLUMNS = ("since", "until", "is_told", "busy", "holders", "due")


class DatabaseLeases(Leases):
    """Leases in the tables of the log; each call is one transaction."""

    def __init__(self, tables: LogTables, thread: DatabaseThread, prefix: str) -> None:
        self._tables = tables
        self._thread = thread
        self._prefix = prefix

    async def look(self, known: Known) -> Look:
        """Take the next changes; mostly this only reads."""
        word, look = await self._thread.arun(self._look, known.get(0, ""))
        known[0] = word
        return look

    async def hold(self, holder: str, leases: Sequence[Lease]) -> bool:
        """Hold leases."""
        return await self._thread.arun(self._hold, holder, leases)

    async def settle(self, changes: Sequence[Change]) -> None:
        """Note that changes were told."""
        await self._thread.arun(self._settle, changes)

    async def extend(self, changes: Sequence[Change]) -> list[Change]:
        """Note that changes are still being told."""
        return await self._thread.arun(self._extend, changes)

    async def members(self, streams: Sequence[str]) -> list[list[str]]:
        """Return who is present in each stream, with one query."""
        return await self._thread.arun(self._members, streams)

    def _look(self, known: str) -> tuple[str, Look]:
        server = self._tables.server()
        row = self._watches().first()
        is_used, due = self._rows().exists(), self._due(server.now).exists()
        watch = _watch(row)
        is_lost = watch.look(
            known, _run(server), server.now, self.times, is_used=is_used
        )
        is_quiet = server.now < watch.quiet
        if row is None or not _is_noted(row, watch) or (due and not is_quiet):
            return self._take(known)
        return watch.word, Look(is_lost, is_quiet, is_used)

    def _take(self, known: str) -> tuple[str, Look]:
        with writing(self._tables.alias):
            watch, is_lost, now = self._note(known)
            is_quiet = now < watch.quiet
            changes: list[Change] = []
            if not is_quiet:
                rows = (
                    self._due(now)
                    .order_by("due")
                    .select_for_update(**skipping(self._tables.alias))
                )
                members = {row: _member(row) for row in rows[:MOST]}
                for row, member in members.items():
                    has_joined = member.take(now, self.times)
                    if has_joined is not None:
                        change = Change(row.sid, row.member, has_joined, member.busy)
                        changes.append(change)
                self._save(members, now)
            look = Look(is_lost, is_quiet, self._rows().exists(), tuple(changes))
        return watch.word, look

    def _note(self, known: str) -> tuple[Looking, bool, int]:
        """Note that somebody looks; return also whether leases may be lost."""
        objects = LeaseWatch.objects.using(self._tables.alias)
        server = self._tables.server()
        nobody = dict.fromkeys(("begun", "seen", "quiet"), 0)
        objects.bulk_create(
            [LeaseWatch(prefix=self._prefix, word="", run="", **nobody)],
            ignore_conflicts=True,
        )
        row = self._watches().select_for_update().get()
        watch = _watch(row)
        is_used = self._rows().exists()
        is_lost = watch.look(
            known, _run(server), server.now, self.times, is_used=is_used
        )
        for name in ("word", "run", "begun", "seen", "quiet"):
            setattr(row, name, getattr(watch, name))
        row.save(using=self._tables.alias)
        return watch, is_lost, server.now

    def _hold(self, holder: str, leases: Sequence[Lease]) -> bool:
        for some in portions(leases):
            with writing(self._tables.alias):
                server = self._tables.server()
                watch = _watch(self._watches().first())
                if watch.run != _run(server):
                    return False
                self._hold_some(holder, some, server.now, watch.quiet)
        return True

    def _hold_some(
        self, holder: str, leases: Sequence[Lease], now: int, quiet: int
    ) -> None:
        by_key = {self._key(lease.stream, lease.member): lease for lease in leases}
        found = set(self._rows().filter(key__in=by_key).values_list("key", flat=True))
        self._rows().bulk_create(
            [
                LeaseMember(
                    key=key,
                    prefix=self._prefix,
                    sid=lease.stream,
                    member=lease.member,
                    since=now - _micros(lease.age) + place,
                    until=0,
                    is_told=lease.is_kept and now < quiet,
                    due=0,
                )
                for place, (key, lease) in enumerate(by_key.items())
                if key not in found
            ],
            ignore_conflicts=True,
        )
        members = self._lock(by_key)
        for row, member in members.items():
            until = now + _micros(by_key[row.key].seconds)
            member.hold(holder, until, now)
        self._save(members, now)

    def _settle(self, changes: Sequence[Change]) -> None:
        for change, member, now in self._changed(changes):
            member.settle(change.has_joined, change.token, now)

    def _extend(self, changes: Sequence[Change]) -> list[Change]:
        return [
            change._replace(token=member.busy)
            for change, member, now in self._changed(changes)
            if member.extend(change.token, now, self.times)
        ]

    def _changed(
        self, changes: Sequence[Change]
    ) -> Iterator[tuple[Change, Member, int]]:
        """Yield each change with its member, which is then saved, and the time."""
        for some in portions(changes):
            by_key = {self._key(c.stream, c.member): c for c in some}
            with writing(self._tables.alias):
                now = self._tables.server().now
                members = self._lock(by_key)
                for row, member in members.items():
                    yield by_key[row.key], member, now
                self._save(members, now)

    def _members(self, streams: Sequence[str]) -> list[list[str]]:
        now = self._tables.server().now
        present = self._rows().filter(sid__in=streams, until__gt=now).order_by("since")
        found: dict[str, list[str]] = {stream: [] for stream in streams}
        for stream, member in present.values_list("sid", "member"):
            found[stream].append(member)
        return [found[stream] for stream in streams]

    def _lock(self, keys: Collection[str]) -> dict[LeaseMember, Member]:
        rows = self._rows().filter(key__in=sorted(keys)).order_by("key")
        return {row: _member(row) for row in rows.select_for_update()}

    def _save(self, members: Mapping[LeaseMember, Member], now: int) -> None:
        """Write what has changed, and delete what nobody needs to know any more."""
        over = [row.key for row, member in members.items() if member.is_over(now)]
        kept = [row for row, member in members.items() if not member.is_over(now)]
        for row in kept:
            member = members[row]
            row.since, row.until, row.due = member.since, member.until, member.due
            row.is_told, row.busy = member.is_told, member.busy
            row.holders = json.dumps(member.holders)
        if over:
            delete(self._rows().filter(key__in=over))
        if kept:
            self._rows().bulk_update(kept, COLUMNS)

    def _rows(self) -> QuerySet[LeaseMember]:
        rows = LeaseMember.objects.using(self._tables.alias)
        return rows.filter(prefix=self._prefix)

    def _due(self, now: int) -> QuerySet[LeaseMember]:
        return self._rows().filter(due__lte=now)

    def _watches(self) -> QuerySet[LeaseWatch]:
        watches = LeaseWatch.objects.using(self._tables.alias)
        return watches.filter(prefix=self._prefix)

    def _key(self, stream: str, member: str) -> str:
        text = f"{self._prefix} {stream} {member}"
        return hashlib.sha256(text.encode()).hexdigest()


def sweep_leases(tables: LogTables) -> None:
    """Delete members whom nobody has looked for."""
    horizon = tables.server().now - KEEP
    rows = LeaseMember.objects.using(tables.alias)
    delete(rows.filter(until__lte=horizon))


def _member(row: LeaseMember) -> Member:
    holders = json.loads(row.holders)
    return Member(row.since, row.until, row.is_told, row.busy, holders)


def _watch(row: LeaseWatch | None) -> Looking:
    if row is None:
        return Looking()
    return Looking(row.word, row.run, row.begun, row.seen, row.quiet)


def _is_noted(row: LeaseWatch, watch: Looking) -> bool:
    """Return whether the table says nearly the same."""
    same = (row.word, row.run, row.quiet) == (watch.word, watch.run, watch.quiet)
    return same and watch.seen - row.seen < SPELL


def _run(server: Server) -> str:
    """Return what identifies the data."""
    return f"{server.word} {server.data}"[:191]


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)
