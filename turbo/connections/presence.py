"""
Presence: whose pages show a stream, over all tabs and processes.

A stream with ``Meta.presence = True`` counts the users of its pages. Each event loop
that serves such pages holds leases for their users, and tells the streams who has
joined and who has left::

    class RoomStream(turbo.ModelStream):
        class Meta:
            model = Room
            presence = True

        def on_join(self, user):
            self.append("chat/person.html", {"person": user}, id="people")

        def on_leave(self, user):
            self.remove(id=dom_id(user))

A user whose last page has gone has a few seconds to come back, as with a reload.
The leases of a process that was killed end by themselves, and another process tells of
it. See :mod:`turbo.replay.leases` for how each change is told once, and in order.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field

from turbo.conf import get_settings
from turbo.connections.presence_hooks import News, Taken, by_stream, tell
from turbo.replay import get_replay
from turbo.replay.leases import Change, Known, Lease, Look
from turbo.runtime.backoff import OutageLog
from turbo.runtime.failures import log_failure
from turbo.runtime.loops import PerLoop
from turbo.runtime.tasks import Tasks, detach
from turbo.runtime.threads import turn_of
from turbo.streams.present import member_of

__all__ = ["Present", "appear"]

logger = logging.getLogger("turbo.presence")

#: Seconds between two looks at what the other processes have noted.
INTERVAL = 1.0
#: The fewest seconds between them, however often somebody comes and goes.
PAUSE = 0.02
#: Seconds after which a hook is given up that does not return.
LIMIT = 600.0
#: How often it is said that a hook is running, in the time after which it is not
#: believed any more: one of them may get lost.
EXTENSIONS = 3


@dataclass(slots=True, eq=False)
class Present:
    """A user in a stream, on some pages of this event loop."""

    stream: str
    member: str
    keeper: _Keeper
    #: How many pages there are.
    pages: int = 0
    since: float = field(default_factory=time.monotonic)
    is_held: bool = False

    def end(self) -> None:
        """Note that one page less shows the stream."""
        self.pages -= 1
        if not self.pages:
            self.keeper.note(self)

    def lease(self, now: float) -> Lease:
        """Return the lease that is to be held from now on."""
        settings = get_settings()
        seconds = settings.presence_expiry if self.pages else settings.presence_grace
        return Lease(
            self.stream, self.member, seconds, now - self.since, is_kept=self.is_held
        )


def appear(sid: str, name: str, user: str) -> Present:
    """Note that one page more of a user shows a stream."""
    return _keepers.get().appear(sid, member_of(name, user))


class _Keeper:
    """The leases of one event loop, and the task that renews them while it is used."""

    def __init__(self) -> None:
        self._holder = secrets.token_hex(8)
        self._known: Known = {}
        self._present: dict[tuple[str, str], Present] = {}
        #: Those whose leases are to be changed.
        self._noted: dict[Present, None] = {}
        self._renewed = 0.0
        self._was_quiet = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._hooks = Tasks()
        #: Changes that are told, and those that were, which the others do not know yet.
        self._taken: dict[tuple[str, str], Taken] = {}
        #: The streams whose hooks are running.
        self._running: set[News] = set()
        self._extended = 0.0
        self._outage = OutageLog(
            logger,
            down="It cannot be noted who is present: %(type)s: %(error)s",
            up="It is noted again who is present.",
        )

    def appear(self, sid: str, member: str) -> Present:
        """Note that one page more of a member shows a stream."""
        present = self._present.get((sid, member))
        if present is None:
            present = Present(sid, member, self)
            self._present[sid, member] = present
        present.pages += 1
        if present.pages == 1:
            self.note(present)
        return present

    def note(self, present: Present) -> None:
        """Change a lease soon."""
        self._noted[present] = None
        if present.pages:  # who leaves has time
            self._wake.set()
        if self._task is None or self._task.done():
            # It works for all pages, and longer than the one that was first.
            self._task = detach(self._run(), context=Context())

    async def _run(self) -> None:
        """Look, renew and tell until nobody is present any more."""
        is_used = True
        try:
            while is_used or self._present or self._taken:
                self._wake.clear()
                try:
                    is_used = await self._round()
                except Exception as error:
                    self._outage.down(error)
                    self._was_quiet = False  # all are renewed when this is over
                else:
                    self._outage.up()
                await asyncio.sleep(PAUSE)
                with suppress(TimeoutError):
                    async with asyncio.timeout(INTERVAL):
                        await self._wake.wait()
        finally:
            _keepers.forget()

    async def _round(self) -> bool:
        """Return whether anybody is present in any stream of any process."""
        leases, now = get_replay().leases, time.monotonic()
        look = await self._look()
        is_due = now - self._renewed >= get_settings().presence_expiry / 3
        if is_due or look.is_lost or (look.is_quiet and not self._was_quiet):
            self._noted |= dict.fromkeys(self._present.values())
            self._renewed = now
        self._was_quiet = look.is_quiet
        noted = list(self._noted)
        if noted:
            pages = [present.pages for present in noted]
            wanted = [present.lease(now) for present in noted]
            if not await leases.hold(self._holder, wanted):
                self._wake.set()  # look again, because data were lost meanwhile
                return True
            for present, count in zip(noted, pages, strict=True):
                self._is_held(present, count)
            look = await self._look()
        return look.is_used

    def _is_held(self, present: Present, pages: int) -> None:
        """Note that the lease is held that was right for a number of pages."""
        present.is_held = True
        if bool(pages) != bool(present.pages):
            return  # it has changed since
        self._noted.pop(present, None)
        if not pages:
            self._present.pop((present.stream, present.member), None)

    async def _look(self) -> Look:
        """Settle what was told, and tell what is new."""
        leases, now = get_replay().leases, time.monotonic()
        if told := [taken for taken in self._taken.values() if taken.is_told]:
            await leases.settle([taken.change for taken in told])
            self._end(told)
        if now >= self._extended + self._believed() / EXTENSIONS:
            self._extended = now
            await self._extend_all(now)
        look = await leases.look(self._known)
        if fresh := [change for change in look.changes if not self._tells(change)]:
            for news in by_stream(fresh):
                self._taken |= {taken.change[:2]: taken for taken in news.changes}
                self._hooks.run(self._tell(news))
            self._wake.set()  # there may be more
        return look

    def _believed(self) -> float:
        """Return the seconds for which the others believe that a hook is running."""
        return get_replay().leases.times.tell_again / 1_000_000

    async def _extend_all(self, now: float) -> None:
        """Say that what the hooks have not finished is still told here."""
        for news in list(self._running):
            if now >= news.since + LIMIT:
                self._give_up(news)
        left = [taken for news in self._running for taken in news.left]
        await self._extend(left)

    async def _extend(self, left: Sequence[Taken]) -> Sequence[Taken]:
        """Return those of the changes that no other process has taken."""
        if not left:
            return left
        extended = await get_replay().leases.extend([taken.change for taken in left])
        for change in extended:
            self._tells(change)
        ours = {change[:2] for change in extended}
        return [taken for taken in left if taken.change[:2] in ours]

    def _tells(self, change: Change) -> bool:
        """Return whether a change is told here already; note what is new of it."""
        taken = self._taken.get(change[:2])
        if taken is None:
            return False
        if taken.is_begun:
            change = change._replace(has_joined=taken.change.has_joined)
        taken.change = change
        return True

    async def _tell(self, news: News) -> None:
        begun = time.monotonic()
        try:
            async with turn_of(("presence", news.stream)):
                if time.monotonic() >= begun + self._believed() / EXTENSIONS:
                    ours = await self._extend(news.changes)
                    self._end(set(news.changes).difference(ours))
                    news.changes = list(ours)
                news.begin()
                self._running.add(news)
                await tell(news)
        finally:
            self._running.discard(news)
            self._end(news.left)  # some process tells it later
            self._wake.set()

    def _give_up(self, news: News) -> None:
        """Let another process take what a hook holds up that does not return."""
        news.is_given_up = True
        self._running.discard(news)
        self._end(news.left)
        what = f"{news.hook} took too long, so another process may tell it again."
        log_failure(what, TimeoutError(f"It took more than {LIMIT:g} seconds."))

    def _end(self, ended: Iterable[Taken]) -> None:
        for taken in ended:
            if self._taken.get(taken.change[:2]) is taken:
                del self._taken[taken.change[:2]]


_keepers = PerLoop(_Keeper)
