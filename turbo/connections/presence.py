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
from collections.abc import Iterable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field

from turbo.conf import get_settings
from turbo.connections.presence_hooks import tell
from turbo.replay import get_replay
from turbo.replay.leases import Change, Known, Lease, Look
from turbo.runtime.backoff import OutageLog
from turbo.runtime.loops import PerLoop
from turbo.runtime.tasks import Tasks, detach
from turbo.streams.present import member_of

__all__ = ["Present", "appear"]

logger = logging.getLogger("turbo.presence")

#: Seconds between two looks at what the other processes have noted.
INTERVAL = 1.0
#: The fewest seconds between them, however often somebody comes and goes.
PAUSE = 0.02


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


@dataclass(slots=True, eq=False)
class _Taken:
    """A change that the application is told of."""

    change: Change


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
        self._taken: dict[tuple[str, str], _Taken] = {}
        self._told: list[_Taken] = []
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
            while is_used or self._present or self._told:
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
        if told := list(self._told):
            await leases.settle([taken.change for taken in told])
            del self._told[: len(told)]
            self._end(told)
        if now >= self._extended + leases.times.tell_again / 3_000_000:
            self._extended = now
            await self._extend()
        look = await leases.look(self._known)
        if fresh := [change for change in look.changes if not self._tells(change)]:
            left = {change: _Taken(change) for change in fresh}
            self._taken |= {change[:2]: left[change] for change in fresh}
            self._hooks.run(self._tell(left))
            self._wake.set()  # there may be more
        return look

    async def _extend(self) -> None:
        """Say that what the hooks have not finished is still told here."""
        changes = [taken.change for taken in self._taken.values()]
        if changes:
            for change in await get_replay().leases.extend(changes):
                self._tells(change)

    def _tells(self, change: Change) -> bool:
        """Return whether a change is told here already; note its new token."""
        taken = self._taken.get(change[:2])
        if taken is None:
            return False
        taken.change = taken.change._replace(token=change.token)
        return True

    async def _tell(self, left: dict[Change, _Taken]) -> None:
        async for told in tell(list(left)):
            self._told += [left.pop(change) for change in told]
            self._wake.set()
        self._end(left.values())  # some process tells it later

    def _end(self, ended: Iterable[_Taken]) -> None:
        for taken in ended:
            del self._taken[taken.change[:2]]


_keepers = PerLoop(_Keeper)
