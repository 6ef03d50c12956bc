"""
One stream in one process: its subscribers and their position.

:class:`Topic` is synchronous and runs on the hub's loop, so a message comes either
before or after the arrival of a subscriber.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType
from typing import Protocol, TypeAlias

from turbo import metrics
from turbo.delivery.audiences import AudienceFrames, frames_of
from turbo.delivery.envelope import Envelope
from turbo.delivery.frame import Frame
from turbo.delivery.marked import unmark
from turbo.delivery.protocol import message_frame
from turbo.delivery.unreadable import Unreadable, drop
from turbo.replay import get_replay
from turbo.replay.base import Entry, History, RoutingLog
from turbo.runtime.batching import batched, deduplicated

__all__ = [
    "NO_AUDIENCES",
    "Arrival",
    "Audiences",
    "MissedFrames",
    "Subscriber",
    "Topic",
    "deliver",
    "encode",
    "read",
    "read_log",
    "read_tips",
]

logger = logging.getLogger("turbo.hub")

#: The most messages from the layer that are kept until a position is known.
KEPT = 100
#: Characters of a history to encode before other tasks may run.
TURN = 65_536


class Subscriber(Protocol):
    """An object that takes frames: a socket, an SSE response, a test."""

    def deliver(self, frame: Frame) -> None:
        """Take a frame; must neither block nor raise."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a new subscriber gets first: its position and the messages it missed."""

    sid: str
    position: str
    recovered: bool
    frames: tuple[Frame, ...]
    #: The position after the frames.
    end: str = ""

    @property
    def size(self) -> int:
        """Return the size of the frames."""
        return sum(frame.size for frame in self.frames)

    def as_gap(self) -> Arrival:
        """Return what the subscriber gets if the frames are too large for it."""
        return Arrival(self.sid, self.end, False, ())


#: The messages that a subscriber has missed, by their numbers.
MissedFrames: TypeAlias = Sequence[tuple[int, Frame]]


#: The audiences of a subscriber, by stream id; nothing for streams without audiences.
Audiences: TypeAlias = Mapping[str, str]
NO_AUDIENCES: Audiences = MappingProxyType({})


async def read(
    wanted: Sequence[tuple[str, str]], channel: str, audiences: Audiences = NO_AUDIENCES
) -> list[tuple[History, MissedFrames]]:
    """
    Return the histories of ``(stream id, since)`` pairs, and their frames.

    From now on the process that receives from the ``channel`` shows these streams.
    """
    histories: list[History] = await _read([(channel, *place) for place in wanted])
    sids = [sid for sid, _ in wanted]
    missed = await encode(zip(sids, histories, strict=True), audiences)
    return list(zip(histories, missed, strict=True))


@batched
async def _read(pages: list[Sequence[tuple[str, str, str]]]) -> list[list[History]]:
    return await deduplicated(pages, _histories)


async def _histories(wanted: Sequence[tuple[str, str, str]]) -> list[History]:
    # There is one channel, but for a hub that has just been replaced.
    found: dict[tuple[str, str, str], History] = {}
    for channel in {channel for channel, _, _ in wanted}:
        asked = [place for place in wanted if place[0] == channel]
        read = await read_log([place[1:] for place in asked], channel)
        found.update(zip(asked, read, strict=True))
    return [found[place] for place in wanted]


async def read_log(places: Sequence[tuple[str, str]], channel: str) -> list[History]:
    """Read the log for the process that receives from the ``channel``."""
    log = get_replay()
    if isinstance(log, RoutingLog):
        return await log.read(places, channel=channel)
    return await log.read(places)


async def read_tips(sids: Sequence[str], channel: str) -> list[tuple[str, int] | None]:
    """Read the tips for the process that receives from the ``channel``."""
    log = get_replay()
    if isinstance(log, RoutingLog):
        return await log.tips(sids, channel=channel)
    return await log.tips(sids)


async def encode(
    histories: Iterable[tuple[str, History]], audiences: Audiences = NO_AUDIENCES
) -> list[MissedFrames]:
    """Return the frames of each history; other tasks may run meanwhile."""
    encoded: list[MissedFrames] = []
    size = 0
    for sid, history in histories:
        missed = []
        audience = audiences.get(sid, "")
        for entry in history.entries:
            frames = frames_of(sid, f"{history.epoch}:{entry.number}", entry.data)
            frame = _for(audience, frames)
            missed.append((entry.number, frame))
            size += frame.size
            if size > TURN:
                await asyncio.sleep(0)
                size = 0
        encoded.append(missed)
    return encoded


def _for(audience: str, frames: Frame | AudienceFrames) -> Frame:
    return frames if isinstance(frames, Frame) else frames.of(audience)


def deliver(frame: Frame, subscribers: Collection[Subscriber]) -> None:
    """Hand a frame to each subscriber, even if one of them fails."""
    problem: Unreadable | None = None
    for subscriber in subscribers:
        try:
            subscriber.deliver(frame)
        except Unreadable as error:
            problem = error
        except Exception:
            logger.exception("A subscriber could not take a message.")
            metrics.count("failed")
    if problem is not None:
        drop("in a stream", problem)


def _is_whisper(value: object) -> bool:
    match value:
        case [str(), str()]:
            return True
    return False


class Topic:
    """The subscribers of one stream in this process."""

    __slots__ = (
        "_ahead",
        "_recent",
        "backlog",
        "claims",
        "epoch",
        "members",
        "number",
        "sid",
    )

    def __init__(self, sid: str) -> None:
        self.sid = sid
        #: Each subscriber's audience; ``""`` if the stream has none.
        self.members: dict[Subscriber, str] = {}
        #: Subscribers that are being added; while there are any, live frames are kept.
        self.claims = 0
        #: The last message delivered; ``epoch`` is ``None`` until it is known.
        self.epoch: str | None = None
        self.number = 0
        #: Messages that arrived during a repair, or before the position was known.
        self.backlog: list[Envelope] | None = []
        self._recent: list[tuple[int, Frame | AudienceFrames]] = []
        # Subscribers whose history is ahead of the live messages.
        self._ahead: dict[Subscriber, int] = {}

    @property
    def position(self) -> str:
        """Return the position of the stream's subscribers."""
        return f"{self.epoch}:{self.number}" if self.epoch else ""

    @property
    def settled(self) -> bool:
        """Return whether live messages are delivered as they arrive."""
        return self.backlog is None

    @property
    def idle(self) -> bool:
        """Return whether there is no subscriber, present or arriving."""
        return not self.members and not self.claims

    def take(self, envelope: Envelope) -> bool:
        """Deliver messages from the layer; return whether a repair is needed."""
        if self.backlog is not None:
            self.backlog.append(envelope)
            if len(self.backlog) > KEPT:
                del self.backlog[0]  # the hole that this leaves is repaired
            return False
        if not envelope.number:
            for data in envelope.data:
                self._pass_on(data)
            return False
        if envelope.epoch != self.epoch or envelope.number > self.number + 1:
            self.backlog = [envelope]
            return True
        self._extend(map(Entry, count(envelope.number), envelope.data))
        return False

    def admit(
        self,
        subscriber: Subscriber,
        history: History,
        missed: MissedFrames = (),
        audience: str = "",
    ) -> Arrival:
        """
        Add a subscriber, and return what it has missed until now.

        ``missed`` are the frames of its history from :func:`read`. Who subscribes again
        keeps the audience until that is changed.
        """
        if self.epoch is None:
            self.epoch, self.number = history.epoch, history.tip
        self.members.setdefault(subscriber, audience)
        complete = history.complete and history.epoch == self.epoch
        if not complete:
            metrics.count("gaps", sid=self.sid)
            return Arrival(self.sid, self.position, False, ())
        metrics.count("replayed", len(missed))
        recent = [live for live in self._recent if live[0] > history.tip]
        missed = [*missed, *((n, _for(audience, frames)) for n, frames in recent)]
        if history.tip > self.number:
            self._ahead[subscriber] = history.tip
        start = missed[0][0] - 1 if missed else history.tip
        end = missed[-1][0] if missed else history.tip
        frames = tuple(frame for _, frame in missed)
        places = [f"{history.epoch}:{n}" if history.epoch else "" for n in (start, end)]
        return Arrival(self.sid, places[0], True, frames, places[1])

    def drop(self, subscriber: Subscriber) -> None:
        """Remove a subscriber."""
        self.members.pop(subscriber, None)
        self._ahead.pop(subscriber, None)

    def hold(self) -> None:
        """
        Keep live messages until :meth:`repair` or :meth:`resume`.

        Call this before the log is read. Messages that were kept before are dropped:
        the log has them, or they belong to an epoch that has ended.
        """
        self.backlog = []

    def resume(self) -> list[Envelope]:
        """Deliver live messages from now on, and return those that were kept."""
        backlog, self.backlog = self.backlog or [], None
        return backlog

    def misses(self, tip: tuple[str, int] | None, seen: int) -> bool:
        """
        Return whether the log's last message is not the last one delivered.

        ``seen`` is the number before the log was asked; more may have come meanwhile.
        """
        if not self.settled:
            return False
        return tip is None or tip[0] != self.epoch or not seen <= tip[1] <= self.number

    def unclaim(self) -> None:
        """Note that a subscriber has been added or has failed to arrive."""
        self.claims -= 1
        if not self.claims:
            self._recent.clear()

    def repair(self, history: History) -> list[Envelope]:
        """Deliver messages that are only in the log; return those kept meanwhile."""
        if history.complete and history.epoch == self.epoch:
            metrics.count("repaired", self._extend(history.entries))
        elif history.epoch:
            self.epoch, self.number = history.epoch, history.tip
            self._ahead.clear()
            metrics.count("gaps", len(self.members), sid=self.sid)
            self._deliver(0, frames_of(self.sid, self.position, None))
        return self.resume()

    def _extend(self, entries: Iterable[Entry]) -> int:
        extended = 0
        for entry in entries:
            if entry.number > self.number:
                self.number = entry.number
                extended += 1
                place = f"{self.epoch}:{entry.number}"
                frames = frames_of(self.sid, place, entry.data)
                self._deliver(entry.number, frames)
        return extended

    def _pass_on(self, data: str | None) -> None:
        """Deliver an unnumbered message, or whispers."""
        match unmark(data or ""):
            case None | ("audiences", _):
                self._deliver(0, frames_of(self.sid, "", data))
            case ["whisper", [*whispers]] if all(map(_is_whisper, whispers)):
                self._whisper(whispers)
            case unknown:  # of another version
                drop("in a stream", Unreadable(f"{unknown!r:.100}"))

    def _whisper(self, whispers: Sequence[tuple[str, str]]) -> None:
        """Deliver whispers in one frame, but each not to its own connection."""
        senders = {sender for sender, _ in whispers}
        own: dict[str, Subscriber] = {}
        others: list[Subscriber] = []
        for member in self.members:
            if (name := getattr(member, "id", "")) in senders:
                own[name] = member
            else:
                others.append(member)
        for name, members in [("", others), *((n, [own[n]]) for n in own)]:
            data = "".join(html for sender, html in whispers if sender != name)
            if data and members:
                deliver(Frame(message_frame(self.sid, position="", data=data)), members)
                metrics.count("delivered", len(members))

    def _deliver(self, number: int, frames: Frame | AudienceFrames) -> None:
        if self.claims:
            self._recent.append((number, frames))
        members = self._due(number) if self._ahead else self.members
        if isinstance(frames, Frame):
            deliver(frames, members)
        else:
            for audience, group in self._by_audience(members).items():
                deliver(frames.of(audience), group)
        metrics.count("delivered", len(members))

    def _by_audience(
        self, members: Iterable[Subscriber]
    ) -> dict[str, list[Subscriber]]:
        groups: dict[str, list[Subscriber]] = {}
        for subscriber in members:
            groups.setdefault(self.members[subscriber], []).append(subscriber)
        return groups

    def _due(self, number: int) -> list[Subscriber]:
        due = []
        for subscriber in self.members:
            reached = self._ahead.get(subscriber)
            if reached is not None and number:
                if number <= reached:
                    continue
                del self._ahead[subscriber]
            due.append(subscriber)
        return due
