"""
The gate: who may subscribe to what.

All names of one frame are decided together: signatures first, then one look-up of
revocations, then one visit to the database for all instances and tests.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from channels.db import database_sync_to_async

from turbo import metrics
from turbo.exceptions import NameRefused, UnknownStreamError
from turbo.identity import is_pending, load_sessions
from turbo.model_streams import ModelStream
from turbo.names import SignedName, user_key, verify
from turbo.protocol import Subscription
from turbo.registry import from_name
from turbo.replay import get_replay
from turbo.streams import Stream
from turbo.together import MOST, at_most, each_once, together

__all__ = ["Grant", "Refusal", "Verdict", "admit", "forbidden_keys", "passes"]

logger = logging.getLogger("turbo.gate")


@dataclass(frozen=True, slots=True)
class Grant:
    """A name that admits its bearer, and the stream that it means."""

    subscription: Subscription
    stream: Stream


@dataclass(frozen=True, slots=True)
class Refusal:
    """A name that does not, and why: the word that the page is told."""

    signed: str
    reason: str


Verdict: TypeAlias = Grant | Refusal


async def admit(signed_names: Sequence[str], user: Any) -> list[Verdict]:
    """Return a verdict on each name, in order."""
    verdicts = await _look_up(signed_names, user)
    for place, verdict in enumerate(verdicts):
        if isinstance(verdict, Grant):
            reason = await _last_reason(verdict.stream, user)
            verdicts[place] = _decide(verdict, revoked=False, reason=reason)
    _count(verdicts)
    return verdicts


# What waits to be decided is large, and a thousand pages may come back at once. Tests
# that are coroutines are asked outside: if one hangs, the others need not wait for it.
@at_most(2 * MOST)
async def _look_up(signed_names: Sequence[str], user: Any) -> list[Verdict]:
    verdicts = [_read(signed) for signed in signed_names]
    checked = [item for item in verdicts if not isinstance(item, Refusal)]
    names = [name for _, name in checked]
    revoked = await _revoked(names)
    reasons = await _reasons([grant.stream for grant, _ in checked], user, names)
    decided = iter(
        _decide(grant, is_revoked, reason)
        for (grant, _), is_revoked, reason in zip(
            checked, revoked, reasons, strict=True
        )
    )
    return [v if isinstance(v, Refusal) else next(decided) for v in verdicts]


def _count(verdicts: Sequence[Verdict]) -> None:
    refusals = [verdict for verdict in verdicts if isinstance(verdict, Refusal)]
    grants = [verdict for verdict in verdicts if isinstance(verdict, Grant)]
    metrics.count("refused", len(refusals), refusals=refusals)
    metrics.count("granted", len(grants), grants=grants)


def _read(signed: str) -> Refusal | tuple[Grant, SignedName]:
    try:
        name = verify(signed)
        stream = from_name(name.name)
        subscription = Subscription(signed, name.name, stream.stream_id)
        return Grant(subscription, stream), name
    except NameRefused as error:
        return Refusal(signed, error.reason)
    except UnknownStreamError:
        return Refusal(signed, "unknown")
    except Exception:
        # Signed by us, but the class no longer takes these arguments.
        logger.exception("A signed stream name cannot be made into a stream.")
        return Refusal(signed, "unknown")


def _decide(grant: Grant, revoked: bool, reason: str) -> Verdict:
    if revoked and reason != "foreign":
        return Refusal(grant.subscription.signed, "revoked")
    if reason:
        return Refusal(grant.subscription.signed, reason)
    return grant


def forbidden_keys(name: str | None, user: str | None) -> list[str]:
    """Return the keys under which a revocation that concerns these is noted."""
    keys = [f"stream={name}"] if name else []
    if user:
        keys += [f"user={user}"]
    if name and user:
        keys += [f"user={user} stream={name}"]
    return keys


@together
async def _forbidden_all(pages: list[list[str]]) -> list[list[float | None]]:
    return await each_once(pages, lambda keys: get_replay().forbidden(keys))


async def _revoked(names: Sequence[SignedName]) -> list[bool]:
    keys = [forbidden_keys(name.name, name.user) for name in names]
    if not keys:
        return []
    times = await each_once(keys, _forbidden_all)
    return [
        any(name.issued <= (moment or 0) for moment in group)
        for name, group in zip(names, times, strict=True)
    ]


async def passes(streams: Sequence[Stream], user: Any) -> list[str]:
    """Return for each stream why ``user`` may not see it, ``""`` where they may."""
    reasons = await _reasons(streams, user)
    return [
        reason or await _last_reason(stream, user)
        for stream, reason in zip(streams, reasons, strict=True)
    ]


async def _reasons(
    streams: Sequence[Stream], user: Any, names: Sequence[SignedName] = ()
) -> list[str]:
    """Say why not; ``names`` are those that the streams were asked for with."""
    takes_database = any(isinstance(s, ModelStream) or s.tests_user() for s in streams)
    if is_pending(user):
        takes_database = takes_database or any(name.user for name in names)
    page = _Page(streams, user, names)
    reasons = await _visit_database(page) if takes_database else _sync_reasons(page)
    if isinstance(reasons, Exception):
        raise reasons
    return reasons


@dataclass(frozen=True, slots=True)
class _Page:
    """Somebody who asks for streams; ``names`` says for whom those were signed."""

    streams: Sequence[Stream]
    user: Any
    names: Sequence[SignedName]

    def is_theirs(self) -> list[bool]:
        """Return for each stream whether it was signed for whoever asks."""
        if not self.names:
            return [True] * len(self.streams)
        return [name.is_for(self.user) for name in self.names]


@together
async def _visit_database(pages: list[_Page]) -> list[list[str] | Exception]:
    answers: list[list[str] | Exception] = await database_sync_to_async(_visit)(pages)
    return answers


def _visit(pages: list[_Page]) -> list[list[str] | Exception]:
    """Fetch at once what the pages need; decide one by one, so none fails another."""
    with suppress(Exception):  # what is missing then, each page asks for itself
        load_sessions(page.user for page in pages)
        _load_instances(
            stream
            for page in pages
            for stream, theirs in zip(page.streams, page.is_theirs(), strict=True)
            if theirs
        )
    answers: list[list[str] | Exception] = []
    for page in pages:
        try:
            answers.append(_sync_reasons(page))
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


def _sync_reasons(page: _Page) -> list[str]:
    return [
        _sync_reason(stream, page.user) if theirs else "foreign"
        for stream, theirs in zip(page.streams, page.is_theirs(), strict=True)
    ]


def _test_waits(stream: Stream) -> bool:
    return inspect.iscoroutinefunction(stream.user_passes_test)


def _sync_reason(stream: Stream, user: Any) -> str:
    if isinstance(stream, ModelStream) and not stream.exists():
        return "gone"
    if not stream.tests_user():
        return ""
    if _test_waits(stream):
        user_key(user)  # looked up here, for where it is asked it cannot be
        return ""
    try:
        return "" if stream.user_passes_test(user) else "forbidden"
    except Exception:
        return _failed(stream)


async def _last_reason(stream: Stream, user: Any) -> str:
    """Ask a test that is a coroutine, after all that could be decided without it."""
    if not _test_waits(stream):
        return ""
    try:
        return "" if await stream.user_passes_test(user) else "forbidden"  # type: ignore[misc]
    except Exception:
        return _failed(stream)


def _failed(stream: Stream) -> str:
    logger.exception(
        "%r.user_passes_test() failed; the subscription is refused.", stream
    )
    metrics.count("failed")
    return "forbidden"
