"""
Leases: who is present in a stream, as all processes have noted it.

A process is a *holder*. It holds a lease for each *member* of a stream whose pages it
serves, and renews it in time. A member is present while any holder's lease lasts. When
the last one ends, because it was shortened or its process was killed, the member has
left.

Each joining and leaving is one *change*, which exactly one process takes and tells the
application. It says so with :meth:`Leases.settle`; meanwhile nobody takes the next
change of that member, so all are told in their order. A process that needs longer than
a minute says in time, with :meth:`Leases.extend`, that it is still telling. If it says
nothing, nobody knows what it has told: another one tells how it is by then.

All times are those of the clock where the leases are kept. While nobody can look there,
the leases end although their holders live. So if nobody has looked for some
seconds, or if data were lost, it is *quiet* for a time: there are no changes, and all
holders renew their leases.
"""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple, TypeAlias

from turbo.runtime.forks import Lock

__all__ = [
    "MOST",
    "Change",
    "Known",
    "Lease",
    "Leases",
    "Look",
    "Looking",
    "Member",
    "MemoryLeases",
    "Times",
]

#: The most changes that are taken at once.
MOST = 100

#: What a holder knows of the data, by the place where they are.
Known: TypeAlias = MutableMapping[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Times in microseconds."""

    #: After which another process tells of a change.
    tell_again: int = 60_000_000
    #: Without a look, after which holders may not have renewed their leases.
    gap: int = 5_000_000
    #: In which all holders renew their leases.
    quiet: int = 15_000_000


class Lease(NamedTuple):
    """
    A member of a stream, and the seconds for which a holder's lease lasts from now.

    ``age`` says for how many seconds the member has been present. A lease is *kept* if
    it was held before: should it be lost, its member has not joined anew.
    """

    stream: str
    member: str
    seconds: float
    age: float = 0.0
    is_kept: bool = False


class Change(NamedTuple):
    """
    A member has joined a stream, or left it.

    The ``token`` is for :meth:`Leases.settle`.
    """

    stream: str
    member: str
    has_joined: bool
    token: int


class Look(NamedTuple):
    """
    What there is to be done.

    All leases are to be renewed if data were lost, and when it becomes quiet.
    ``is_used`` says whether anybody holds one.
    """

    is_lost: bool
    is_quiet: bool
    is_used: bool
    changes: tuple[Change, ...] = ()


class Leases(ABC):
    """
    The base class of leases.

    The coroutines may be awaited on any event loop. They raise the exceptions of the
    network, and may be repeated after that.
    """

    #: Tests have shorter ones.
    times = Times()

    @abstractmethod
    async def look(self, known: Known) -> Look:
        """
        Take the next changes; call this every second.

        ``known`` is a mapping of the caller, empty at first, which the call changes.
        """

    @abstractmethod
    async def hold(self, holder: str, leases: Sequence[Lease]) -> bool:
        """
        Hold leases, in place of those that the holder has for the same members.

        Return whether they are held. They are not if nobody has looked since data were
        lost.
        """

    @abstractmethod
    async def settle(self, changes: Sequence[Change]) -> None:
        """Note that the changes were told to the application."""

    @abstractmethod
    async def extend(self, changes: Sequence[Change]) -> list[Change]:
        """
        Note that the changes are still being told.

        Return them with new tokens, in any order, but not what another process has
        taken since.
        """

    @abstractmethod
    async def members(self, streams: Sequence[str]) -> list[list[str]]:
        """Return who is present in each stream, in the order in which they joined."""


@dataclass(slots=True)
class Member:
    """A member of a stream; ``until`` is the end of the last lease."""

    since: int
    until: int = 0
    #: Whether the application was told that the member has joined.
    is_told: bool = False
    #: Until when some process tells of a change, or 0.
    busy: int = 0
    #: The ends of the leases, by holder.
    holders: dict[str, int] = field(default_factory=dict)

    @property
    def due(self) -> int:
        """Return the time of the next change."""
        return self.busy or (self.until if self.is_told else 0)

    def is_over(self, now: int) -> bool:
        """Return whether nothing has to be known of the member any more."""
        return self.until <= now and not self.is_told and not self.busy

    def hold(self, holder: str, until: int, now: int) -> None:
        """Hold a lease."""
        self.holders = {h: end for h, end in self.holders.items() if end > now}
        self.holders[holder] = until
        self.until = max(self.holders.values())

    def take(self, now: int, times: Times) -> bool | None:
        """
        Return whether the member has joined or left, or ``None`` for neither.

        Call this when it is due.
        """
        was_taken, self.busy = self.busy > 0, 0
        is_present = self.until > now
        if is_present == self.is_told and not was_taken:
            return None
        self.busy = now + times.tell_again
        return is_present

    def extend(self, token: int, now: int, times: Times) -> bool:
        """Note that a change is being told, unless another process has taken it."""
        if self.busy != token:
            return False
        self.busy = now + times.tell_again
        return True

    def settle(self, has_joined: bool, token: int, now: int) -> None:
        """Note that a change was told, unless another process has taken it since."""
        if self.busy != token:
            return
        self.busy, self.is_told = 0, has_joined
        if not has_joined:
            self.since = now


@dataclass(slots=True)
class Looking:
    """Since when somebody looks, and until when there are no changes."""

    word: str = ""
    run: str = ""
    begun: int = 0
    seen: int = 0
    quiet: int = 0

    def look(
        self, known: str, run: str, now: int, times: Times, *, is_used: bool
    ) -> bool:
        """
        Note that somebody looks; return whether that one's leases may be lost.

        ``known`` is the word that was known until now, and ``run`` identifies the data.
        """
        if not self.word or self.run != run:
            if self.word or known:
                self.quiet = now + times.quiet
            self.word, self.run, self.begun = secrets.token_hex(8), run, now
        is_lost = known not in ("", self.word)
        if is_lost:
            self.quiet = max(self.quiet, self.begun + times.quiet)
        if is_used and self.seen and now - self.seen > times.gap:
            self.quiet = now + times.quiet
        self.seen = now
        return is_lost


class MemoryLeases(Leases):
    """The leases of one process; any thread may use them."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = Lock()  # owns the fields below
        self._watch = Looking()
        self._streams: dict[str, dict[str, Member]] = {}
        #: Members by the times at which they were to change, which may have moved.
        self._due: list[tuple[int, str, str]] = []

    async def look(self, known: Known) -> Look:
        """Take the next changes; never waits."""
        with self._lock:
            now, watch = self._now(), self._watch
            word, is_used = known.get(0, ""), bool(self._streams)
            is_lost = watch.look(word, "", now, self.times, is_used=is_used)
            known[0] = watch.word
            is_quiet = now < watch.quiet
            changes = () if is_quiet else tuple(self._take(now))
            return Look(is_lost, is_quiet, bool(self._streams), changes)

    async def hold(self, holder: str, leases: Sequence[Lease]) -> bool:
        """Hold leases; never waits."""
        with self._lock:
            now = self._now()
            for place, lease in enumerate(leases):
                members = self._streams.setdefault(lease.stream, {})
                member = members.get(lease.member)
                if member is None:
                    member = Member(now - _micros(lease.age) + place)
                    member.is_told = lease.is_kept and now < self._watch.quiet
                    members[lease.member] = member
                member.hold(holder, now + _micros(lease.seconds), now)
                heappush(self._due, (member.due, lease.stream, lease.member))
        return True

    async def settle(self, changes: Sequence[Change]) -> None:
        """Note that changes were told; never waits."""
        with self._lock:
            now = self._now()
            for stream, name, has_joined, token in changes:
                member = self._streams.get(stream, {}).get(name)
                if member is not None:
                    member.settle(has_joined, token, now)
                    self._keep(stream, name, member, now)

    async def extend(self, changes: Sequence[Change]) -> list[Change]:
        """Note that changes are still being told; never waits."""
        extended: list[Change] = []
        with self._lock:
            now = self._now()
            for change in changes:
                stream, name, _, token = change
                member = self._streams.get(stream, {}).get(name)
                if member is not None and member.extend(token, now, self.times):
                    self._keep(stream, name, member, now)
                    extended.append(change._replace(token=member.busy))
        return extended

    async def members(self, streams: Sequence[str]) -> list[list[str]]:
        """Return who is present in each stream; never waits."""
        with self._lock:
            now = self._now()
            return [
                sorted(
                    (name for name, member in found.items() if member.until > now),
                    key=lambda name: found[name].since,
                )
                for found in (self._streams.get(stream, {}) for stream in streams)
            ]

    def _take(self, now: int) -> list[Change]:
        changes: list[Change] = []
        while self._due and self._due[0][0] <= now and len(changes) < MOST:
            _, stream, name = heappop(self._due)
            member = self._streams.get(stream, {}).get(name)
            if member is None or member.due > now:
                continue
            has_joined = member.take(now, self.times)
            if has_joined is not None:
                changes.append(Change(stream, name, has_joined, member.busy))
            self._keep(stream, name, member, now)
        return changes

    def _keep(self, stream: str, name: str, member: Member, now: int) -> None:
        """Keep a member until its next change, or forget it if there is none."""
        if not member.is_over(now):
            heappush(self._due, (member.due, stream, name))
            return
        members = self._streams[stream]
        del members[name]
        if not members:
            del self._streams[stream]

    def _now(self) -> int:
        return _micros(self._clock())


def _micros(seconds: float) -> int:
    return round(seconds * 1_000_000)
