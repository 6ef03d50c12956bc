"""
Permissions: decisions on who may subscribe to which streams.

All names of one frame are decided together. The signatures come first, then one visit
to the database for the user, the instances and the quick tests, then one look-up of
revocations, and then the other tests. Each stream is tested once, however many names
mean it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from turbo import metrics
from turbo.changes.captured import is_used
from turbo.connections.permission_questions import (
    Permission,
    ask,
    ask_quickly,
)
from turbo.connections.users import is_pending, load_sessions, load_users
from turbo.connections.visitor import Visitor
from turbo.delivery.losses import LOST
from turbo.delivery.names import SignedName, user_key, verify
from turbo.delivery.protocol import PageSubscription
from turbo.exceptions import NameRefused, UnknownStreamError
from turbo.replay import get_replay
from turbo.replay.positions import Moment, parse
from turbo.runtime.batching import MOST, batched, deduplicated, limited
from turbo.runtime.failures import log_failure
from turbo.runtime.namespaces import current, join, split
from turbo.runtime.threads import in_thread
from turbo.streams.model_streams import ModelStream
from turbo.streams.registry import from_name
from turbo.streams.stream import Stream

__all__ = [
    "Allowed",
    "Decision",
    "Refusal",
    "admit",
    "forbidden_keys",
    "passes",
    "revoked",
]

logger = logging.getLogger("turbo.permissions")

#: Seconds of tests within one visit to the database; further tests run separately.
TESTING = 0.05


@dataclass(frozen=True, slots=True)
class Allowed:
    """
    An accepted name, its stream, and the moment since which it may be seen.

    ``audience`` is the visitor's present one. If the page was rendered for another, it
    is out of date.
    """

    subscription: PageSubscription
    stream: Stream
    since: str
    audience: str = ""

    @property
    def is_outdated(self) -> bool:
        """Return whether the page was rendered for another audience."""
        return self.audience != self.subscription.audience


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    A refused name, and the reason that is sent to the page.

    ``passes`` says that the page may ask for it again later.
    """

    signed: str
    reason: str
    passes: bool = False


Decision: TypeAlias = Allowed | Refusal


async def admit(signed_names: Sequence[str], visitor: Visitor) -> list[Decision]:
    """Return a decision on each name, in order."""
    budget, count = visitor.budget, len(signed_names)
    if not budget.spend("names", count) or not budget.hold("waiting", count):
        return _counted([_over_limit(signed) for signed in signed_names])
    try:
        return _counted(await _decide(signed_names, visitor))
    finally:
        budget.release("waiting", count)


def _over_limit(signed: str) -> Refusal:
    return Refusal(signed, "limit", passes=True)


def _counted(decisions: list[Decision]) -> list[Decision]:
    refusals = [decision for decision in decisions if isinstance(decision, Refusal)]
    allowed = [decision for decision in decisions if isinstance(decision, Allowed)]
    metrics.count("refused", len(refusals), refusals=refusals)
    metrics.count("granted", len(allowed), allowed=allowed)
    return decisions


async def _decide(signed_names: Sequence[str], visitor: Visitor) -> list[Decision]:
    read = [_read(signed) for signed in signed_names]
    claims = [item for item in read if not isinstance(item, Refusal)]
    # Names of one stream share the stream object, which may have loaded its instance.
    streams = {allowed.subscription.name: allowed.stream for allowed, _ in claims}
    tested = sum(stream.asks_about_user() for stream in streams.values())
    if tested and not visitor.budget.spend("tests", tested):
        return [
            i if isinstance(i, Refusal) else _over_limit(i[0].subscription.signed)
            for i in read
        ]
    found = await _look_up([name for _, name in claims], streams, visitor)
    apart = {
        name.name: streams[name.name]
        for (_, name), answer in zip(claims, found, strict=True)
        if answer is None
    }
    answers = await ask(apart, visitor)
    decided = iter(
        _decision(allowed, answers[name.name] if answer is None else answer)
        for (allowed, name), answer in zip(claims, found, strict=True)
    )
    return [item if isinstance(item, Refusal) else next(decided) for item in read]


def _decision(allowed: Allowed, answer: Permission) -> Decision:
    if answer.reason:
        return Refusal(allowed.subscription.signed, answer.reason)
    return replace(allowed, audience=answer.audience) if answer.audience else allowed


# Limited, because a thousand pages may reconnect at once, and their data is large.
@limited(2 * MOST)
async def _look_up(
    names: Sequence[SignedName], streams: dict[str, Stream], visitor: Visitor
) -> list[Permission | None]:
    """
    Return the answer for each name.

    ``None`` means that its test has to run separately.
    """
    found = await _answers(_Page(streams, visitor, names))
    await visitor.look_up()
    foreign = Permission("foreign")
    answers = [
        found[name.name] if name.is_for(visitor.user) else foreign for name in names
    ]
    for place, reason in enumerate(
        await _revocations(names, visitor.user, losses=is_used())
    ):
        if reason and answers[place] != foreign:
            answers[place] = Permission(reason)
    return answers


def _read(signed: str) -> Refusal | tuple[Allowed, SignedName]:
    try:
        name = verify(signed)
        if split(name.name)[0] != current():
            return Refusal(signed, "foreign")
        stream = from_name(name.name)
        subscription = PageSubscription(
            signed, name.name, stream.stream_id, name.audience
        )
        return Allowed(subscription, stream, name.since), name
    except NameRefused as error:
        return Refusal(signed, error.reason)
    except UnknownStreamError:
        return Refusal(signed, "unknown")
    except Exception as error:
        # We signed this name, but the class no longer takes these arguments.
        log_failure("A signed stream name could not be turned into a stream.", error)
        return Refusal(signed, "unknown")


def forbidden_keys(name: str | None, user: str | None) -> list[str]:
    """
    Return the keys of the revocations that apply to a stream name and a user.

    Both are given as they are in their namespace.
    """
    keys = [f"stream={name}"] if name else []
    if user:
        keys += [f"user={user}"]
    if name and user:
        keys += [f"user={user} stream={name}"]
    return keys


@batched
async def _forbidden_all(pages: list[list[str]]) -> list[list[int | None]]:
    return await deduplicated(pages, lambda keys: get_replay().forbidden(keys))


async def _revocations(
    names: Sequence[SignedName], user: Any, *, losses: bool = False
) -> list[str]:
    """
    Return for each name why it was revoked, or ``""``.

    A revocation applies to the user for whom a name was signed, or else to ``user``.
    With ``losses``, a name has also expired if it is older than the last loss.
    """
    if not names:
        return []
    asking, here = user_key(user), current()
    lost = [LOST] if losses else []
    keys = [
        forbidden_keys(n.name, who and join(here, who)) + lost
        for n in names
        for who in [n.user or asking]
    ]
    times = await deduplicated(keys, _forbidden_all)
    return [
        _revocation(name, group[: len(group) - len(lost)])
        or ("expired" if lost and _revocation(name, group[-1:]) else "")
        for name, group in zip(names, times, strict=True)
    ]


def _revocation(name: SignedName, times: Sequence[int | None]) -> str:
    revoked = [time for time in times if time is not None]
    if not revoked:
        return ""
    since = parse(name.since)
    if not (isinstance(since, Moment) and get_replay().is_current(since)):
        return "expired"  # it may be from before; the page asks for another name
    return "revoked" if since.time <= max(revoked) else ""


async def revoked(signed_names: Sequence[str], visitor: Visitor) -> set[str]:
    """Return the names that were revoked; names that cannot be read are left out."""
    read = map(_read, signed_names)
    claims = [item for item in read if not isinstance(item, Refusal)]
    reasons = await _revocations([name for _, name in claims], visitor.user)
    return {
        allowed.subscription.signed
        for (allowed, _), why in zip(claims, reasons, strict=True)
        if why
    }


async def passes(streams: Sequence[Stream], visitor: Visitor) -> list[Permission]:
    """Return for each stream whether the visitor may see it, and as which audience."""
    by_name = {stream.stream_name: stream for stream in streams}
    found = await _answers(_Page(by_name, visitor))
    apart = {name: by_name[name] for name, answer in found.items() if answer is None}
    answers = await ask(apart, visitor)
    return [
        answers.get(stream.stream_name) or found[stream.stream_name] or Permission()
        for stream in streams
    ]


@dataclass(frozen=True, slots=True)
class _Page:
    """A visitor's request for streams; ``names`` say for whom they were signed."""

    streams: dict[str, Stream]
    visitor: Visitor
    names: Sequence[SignedName] = ()

    def asks_database(self) -> bool:
        """Return whether this request needs the database."""
        return bool(self.streams) and (
            is_pending(self.visitor.user)
            or any(isinstance(s, ModelStream) for s in self.streams.values())
            or any(stream.asks_about_user() for stream in self.streams.values())
        )

    def wanted(self) -> dict[str, Stream]:
        """Return the streams that were signed for this visitor."""
        if not self.names:
            return self.streams
        theirs = {n.name for n in self.names if n.is_for(self.visitor.user)}
        return {name: s for name, s in self.streams.items() if name in theirs}


#: Whether a page may see its streams, by name: ``None`` if a test still has to run.
_Answers: TypeAlias = dict[str, Permission | None]


async def _answers(page: _Page) -> _Answers:
    if not page.asks_database():
        return dict.fromkeys(page.streams, Permission())
    answers = await _visit_database(page)
    if isinstance(answers, Exception):
        raise answers
    return answers


@batched
async def _visit_database(pages: list[_Page]) -> list[_Answers | Exception]:
    return await in_thread(_visit, pages)


def _visit(pages: list[_Page]) -> list[_Answers | Exception]:
    """Load objects for all pages together, but decide separately to confine errors."""
    # If these fail, each page loads what is missing.
    with suppress(Exception):
        users = [page.visitor.user for page in pages]
        load_sessions(users)
        load_users(users)
    with suppress(Exception):
        _load_instances(stream for page in pages for stream in page.wanted().values())
    answers: list[_Answers | Exception] = []
    end = time.monotonic() + TESTING
    for page in pages:
        try:
            user = page.visitor.user
            answers.append(
                {name: _answer(s, user, end) for name, s in page.wanted().items()}
            )
        except Exception as error:
            answers.append(error)
    return answers


def _load_instances(streams: Iterable[Stream]) -> None:
    """Give model streams their instances, with one query for each model."""
    by_class: dict[type[ModelStream], list[ModelStream]] = {}
    for stream in streams:
        if isinstance(stream, ModelStream):
            by_class.setdefault(type(stream), []).append(stream)
    for cls, group in by_class.items():
        cls.load(group)


def _answer(stream: Stream, user: Any, end: float) -> Permission | None:
    if isinstance(stream, ModelStream) and not stream.exists():
        return Permission("gone")
    if not stream.asks_about_user():
        return Permission()
    return ask_quickly(stream, user) if time.monotonic() < end else None
