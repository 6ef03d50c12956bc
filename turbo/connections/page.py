"""
The connection of one page, over a WebSocket or server-sent events.

All frames for the page go through ``emit``, in order, and ``room()`` returns how many
bytes may wait for it now. The transport closes the connection.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TypeAlias

from turbo import metrics
from turbo.conf import get_settings
from turbo.connections.connection import LiveConnection
from turbo.connections.missing_client import found_client
from turbo.connections.permissions import (
    Allowed,
    Decision,
    Refusal,
    admit,
    passes,
    revoked,
)
from turbo.connections.presence import Present, appear
from turbo.connections.whispers import pass_on_whisper, whisper_element
from turbo.delivery.frame import Frame
from turbo.delivery.names import user_key
from turbo.delivery.protocol import (
    LIMITED,
    Limits,
    PageProtocol,
    PageSubscription,
    Pinged,
    Subscribe,
    TextWanted,
    Unsubscribe,
    Wanted,
    Whisper,
    error_frame,
    message_frame,
)
from turbo.delivery.topic import Arrival
from turbo.exceptions import FrameError
from turbo.replay import get_replay
from turbo.replay.positions import bounded, earliest, parse
from turbo.replay.texts import StoredText, TextPlace
from turbo.runtime.batching import batched
from turbo.runtime.log_once import once_a_minute
from turbo.streams import growing_html
from turbo.streams.registry import from_name
from turbo.typing import Scope

__all__ = ["PageConnection"]

logger = logging.getLogger("turbo.subscribers")

#: The most streams whose histories are read at once.
STREAMS = 10

#: A stream id, and the position or moment since which messages are wanted.
_Place: TypeAlias = tuple[str, str]
#: Places, each with all names that mean it.
_Places: TypeAlias = list[tuple[_Place, list[Allowed]]]


class PageConnection(LiveConnection[PageSubscription]):
    """The server's side of one connection."""

    __slots__ = (
        "_has_missed_revocations",
        "_present",
        "_protocol",
        "_room",
        "deliver",
        "id",
    )

    def __init__(
        self, scope: Scope, emit: Callable[[Frame], None], room: Callable[[], int]
    ) -> None:
        settings = get_settings()
        self.deliver = emit
        self._room = room
        self._protocol = PageProtocol(
            _limits(
                settings.max_frame_bytes, settings.max_streams, settings.max_name_length
            )
        )
        self._has_missed_revocations = False
        #: It tells the hub who does not get a whisper, once there is one.
        self.id = ""
        #: Where the user is present, by stream id.
        self._present: dict[str, Present] | None = None
        super().__init__(scope)

    async def receive(self, text: str | None) -> None:
        """Handle one frame of the client."""
        match self._protocol.receive(text):
            case Subscribe(wanted):
                await self.subscribe(wanted)
            case Unsubscribe(ended, frames):
                async with self.revocations.lock:
                    self._leave(ended)
                    self._say(frames)
            case TextWanted(subscription, id, run, at):
                await self._answer_text(subscription, id, run=run, at=at)
            case Whisper() as whisper:
                await self._whisper(whisper)
            case Pinged(frame):
                self._say([frame])
            case refused:
                metrics.count("bad_frames")
                self._say([refused.frame])

    async def _whisper(self, whisper: Whisper) -> None:
        subscription = whisper.subscription
        if self.visitor.is_stale:
            # A revocation has come, which a task of its own applies.
            await asyncio.sleep(0)
            async with self.revocations.lock:
                pass
        try:
            signal = await whisper_element(whisper, self.visitor)
        except FrameError as error:
            metrics.count("bad_frames")
            self._say([error_frame(error.reason, error.detail)])
            return
        if self._held([subscription.signed]):  # still
            self.id = self.id or secrets.token_hex(8)
            pass_on_whisper(subscription.name, signal, self.id)

    async def subscribe(self, wanted: Sequence[Wanted]) -> None:
        """Subscribe to the ``wanted`` streams that the user may see, and answer."""
        found_client(item.signed for item in wanted)
        async with self.revocations.lock:
            while wanted:  # again, if a revocation came meanwhile
                again = await self._subscribe(wanted)
                wanted = [item for item in wanted if item.signed in again]
            self.visitor.rest()

    async def _subscribe(self, wanted: Sequence[Wanted]) -> set[str]:
        """Return the names to ask for again, because a revocation came meanwhile."""
        asked_in, signed = self.revocations.generation, [i.signed for i in wanted]
        try:
            await self.hub.wait_until_listening()
            if self.visitor.is_stale and not await self.visitor.reload():
                await self.revocations.end_all()
            decisions = await admit(signed, self.visitor)
        except Exception as error:
            self._postpone(signed, error)
            return set()
        allowed = self._within_limits(decisions)
        self._refuse(item for item in decisions if isinstance(item, Refusal))
        since = {item.signed: item.since for item in wanted}
        places = list(_by_place(allowed, since))
        again: set[str] = set()
        for start in range(0, len(places), STREAMS):
            some = self._affordable(places[start : start + STREAMS])
            again.update(await self._join(some, asked_in))
        return again

    async def _answer_text(
        self, subscription: PageSubscription, id: str, *, run: int, at: int
    ) -> None:
        """Send what the page lacks of a text; a page without an answer asks again."""
        if not self.budget.can_spend("replay_bytes"):
            self._say([LIMITED])
            return
        try:
            written = await stored_text(TextPlace(subscription.sid, id))
        except Exception as error:
            logger.info("A growing text has to wait: %s", error)
            return
        if self._protocol.subscriptions.get(subscription.signed) is not subscription:
            return  # it ended meanwhile
        if written is None:
            answer, size = growing_html.unknown(id), 0
        else:
            answer = growing_html.answer(id, written, run=run, at=at)
            size = len(written.data.encode())
        frame = Frame(message_frame(subscription.sid, position="", data=answer))
        # All of it has been read, also if the page lacks little or has no room.
        self.budget.charge("replay_bytes", max(size, frame.size))
        if frame.size <= self._room():
            self.deliver(frame)

    def apply_revocation(self, revocation: str | None) -> None:
        """Apply a revocation of the control stream."""
        self._has_missed_revocations |= revocation is None
        super().apply_revocation(revocation)

    async def _join(self, places: _Places, asked_in: int) -> Iterable[str]:
        """Subscribe to streams; return their names if a revocation came meanwhile."""
        allowed = [item for _, names in places for item in names]
        asked = [item.subscription for item in allowed]
        audiences = {i.subscription.sid: i.audience for i in allowed if i.audience}
        if asked_in != self.revocations.generation:
            return [item.signed for item in asked]
        try:
            arrivals = await self.hub.subscribe(
                self, [place for place, _ in places], audiences
            )
        except Exception as error:
            self._postpone([item.signed for item in asked], error)
            return ()
        # No await until settle(), so that arrivals are sent before live messages.
        is_current = asked_in == self.revocations.generation
        if is_current:  # otherwise some messages may be from after the revocation
            for sid, audience in audiences.items():
                self.hub.change_audience(self, sid, audience)
            for (_, names), arrival in zip(places, arrivals, strict=True):
                self._welcome(names, arrival)
        self._leave(asked)
        self.hub.settle(arrivals)
        return () if is_current else [item.signed for item in asked]

    def _affordable(self, places: _Places) -> _Places:
        """Refuse places with a history if the limit of replayed bytes is reached."""
        fresh = [(place, names) for place, names in places if not place[1]]
        if len(fresh) == len(places) or self.visitor.budget.can_spend("replay_bytes"):
            return places
        self._refuse(
            Refusal(item.subscription.signed, "limit", passes=True)
            for place, names in places
            if place[1]
            for item in names
        )
        return fresh

    def _within_limits(self, decisions: list[Decision]) -> list[Allowed]:
        allowed: list[Allowed] = []
        room = self._protocol.limits.streams - len(self._protocol.subscriptions)
        for place, decision in enumerate(decisions):
            if isinstance(decision, Refusal):
                continue
            signed = decision.subscription.signed
            is_new = signed not in self._protocol.subscriptions
            if is_new and not room:
                decisions[place] = Refusal(signed, "limit")
                self._warn_of_limit()
            else:
                room -= is_new
                allowed.append(decision)
        return allowed

    def _warn_of_limit(self) -> None:
        if once_a_minute("streams of a page"):
            logger.warning(
                "A page asked for more than %s streams; the others are refused. Use "
                "fewer streams, such as one for a whole list, or raise "
                "TURBO['MAX_STREAMS'].",
                self._protocol.limits.streams,
            )

    def _welcome(self, names: Sequence[Allowed], arrival: Arrival) -> None:
        """
        Answer for accepted names, and send what the page has missed.

        If there is no room for that, send a gap. Otherwise a page that reads slowly
        would be closed, and would be sent the same again when it comes back. Pages that
        were rendered for another audience always get a gap.
        """
        if names[0].is_outdated:  # and so are the others
            arrival = replace(
                arrival.as_gap(), position=arrival.end or arrival.position
            )
            metrics.count("gaps", sid=arrival.sid)
        if arrival.frames and arrival.size > self._room():
            metrics.count("gaps", sid=arrival.sid)
            arrival = arrival.as_gap()
        self._say(
            self._protocol.accept(
                item.subscription,
                position=arrival.position,
                recovered=arrival.recovered,
            )
            for item in names
        )
        for frame in arrival.frames:
            self.deliver(frame)
        self.visitor.budget.charge("replay_bytes", arrival.size)
        if names[0].stream.options.presence:
            self._appear(names)

    def _refuse(self, refusals: Iterable[Refusal]) -> None:
        refusals = list(refusals)
        held = self._held(refusal.signed for refusal in refusals)
        self._say(
            self._protocol.retry(refusal.signed, reason=refusal.reason)
            if refusal.passes
            else self._protocol.deny(refusal.signed, reason=refusal.reason)
            for refusal in refusals
        )
        self._leave(held)

    def _postpone(self, signed_names: Sequence[str], error: Exception) -> None:
        logger.info("Subscriptions have to wait: %s", error)
        self._refuse(Refusal(name, "unavailable", passes=True) for name in signed_names)

    # --- For the handler of revocations

    def held(self) -> Sequence[PageSubscription]:
        """Return the subscriptions of the page."""
        return list(self._protocol.subscriptions.values())

    async def ended_with(
        self, stream: str, held: Sequence[PageSubscription]
    ) -> Sequence[PageSubscription]:
        """Return the subscriptions to a stream."""
        return [item for item in held if item.name == stream]

    async def refused(
        self, held: Sequence[PageSubscription]
    ) -> Sequence[PageSubscription]:
        """Return subscriptions that the user may not keep, or whose object is gone."""
        streams = [from_name(item.name) for item in held]
        answers = await passes(streams, self.visitor)
        noted = await self._noted(held) if self._has_missed_revocations else ()
        lost: list[tuple[PageSubscription, str]] = []
        kept: list[tuple[PageSubscription, str]] = []
        for item, answer in zip(held, answers, strict=True):
            is_lost = answer.reason or item.signed in noted
            (lost if is_lost else kept).append((item, answer.audience))
        self._follow_audiences(kept)
        return [item for item, _ in lost]

    def _follow_audiences(self, kept: Iterable[tuple[PageSubscription, str]]) -> None:
        """Send what the visitor's audiences get now; outdated pages get a gap."""
        outdated = {
            item.sid
            for item, audience in kept
            if self.hub.change_audience(self, item.sid, audience)
            and audience != item.audience
        }
        for sid in outdated:
            metrics.count("gaps", sid=sid)
            # Without a position: all that the page shows may be wrong.
            self._say([message_frame(sid, position="", data=None)])

    async def _noted(self, held: Sequence[PageSubscription]) -> Collection[str]:
        """Return the names that a lost revocation may have ended."""
        self._has_missed_revocations = False  # first: more may be lost meanwhile
        try:
            return await revoked([item.signed for item in held], self.visitor)
        except Exception as error:
            self._has_missed_revocations = True
            logger.info("Revocations will be read at the next check: %s", error)
            return ()

    async def end(self, ended: Sequence[PageSubscription]) -> None:
        """End revoked subscriptions that have not ended meanwhile."""
        ended = self._held(item.signed for item in ended)
        self._say(self._protocol.deny(item.signed, reason="revoked") for item in ended)
        self._leave(ended)

    def _held(self, signed_names: Iterable[str]) -> list[PageSubscription]:
        """Return the existing subscriptions with these names."""
        held = self._protocol.subscriptions
        return [held[name] for name in signed_names if name in held]

    def _leave(self, ended: Iterable[PageSubscription]) -> None:
        """Leave the streams of ``ended`` that no other name of this page means."""
        left = [item.sid for item in ended if not self._protocol.holds(item.sid)]
        self.hub.unsubscribe(self, left)
        if self._present is not None:
            self._disappear(left)

    def _appear(self, names: Sequence[Allowed]) -> None:
        """Note that the user is present in a stream."""
        held, user = names[0].subscription, user_key(self.visitor.user)
        if self._present is None:
            self._present = {}
        if user is not None and held.sid not in self._present:
            self._present[held.sid] = appear(held.sid, held.name, user)

    def _disappear(self, sids: Iterable[str]) -> None:
        """Note that the user is not present in streams any more."""
        assert self._present is not None
        for sid in sids:
            if (present := self._present.pop(sid, None)) is not None:
                present.end()

    async def stop(self) -> None:
        """Leave the hub and release everything."""
        if self._present is not None:
            self._disappear(list(self._present))
        await super().stop()

    def _say(self, frames: Iterable[str]) -> None:
        for frame in frames:
            self.deliver(Frame(frame))


@batched
async def stored_text(places: list[TextPlace]) -> Sequence[StoredText | None]:
    """Return what is stored of texts; many pages may ask for one text at once."""
    different = list(dict.fromkeys(places))
    found = await get_replay().texts.read(different)
    written = dict(zip(different, found, strict=True))
    return [written[place] for place in places]


@lru_cache(maxsize=1)
def _limits(frame_bytes: int, streams: int, name_length: int) -> Limits:
    """Return the limits of every page."""
    return Limits(frame_bytes=frame_bytes, streams=streams, name_chars=4 * name_length)


def _by_place(
    allowed: Iterable[Allowed], since: dict[str, str]
) -> Iterator[tuple[_Place, list[Allowed]]]:
    """
    Yield each stream with the names that mean it, and their earliest position.

    So a stream with several names is read and sent once. Moments and positions are
    separate, because they cannot be compared, and so are outdated names, for which
    nothing is read.
    """
    groups: dict[tuple[str, type, bool], list[tuple[Allowed, str]]] = {}
    for item in allowed:
        place = bounded(since[item.subscription.signed], item.since)
        if is_outdated := item.is_outdated:
            place = ""
        key = item.subscription.sid, type(parse(place)), is_outdated
        groups.setdefault(key, []).append((item, place))
    for (sid, *_), group in groups.items():
        places = {place for _, place in group}
        first = earliest(places) if len(places) > 1 else places.pop()
        yield (sid, first), [item for item, _ in group]
