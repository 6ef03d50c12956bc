"""
The protocol of one subscriber, without I/O.

:class:`PageProtocol` takes the text of a client's frames in and gives events out; the
caller acts on them and asks it for the frames that answer. It reads no clock,
no setting and no socket, so WebSocket and SSE, tests and fuzzers drive the same code.

The frames, all JSON objects with a ``type``:

=================  ==================================================================
from the client    ``subscribe`` ``unsubscribe`` ``ping``
from the server    ``subscribed`` ``message`` ``gap`` ``unsubscribed`` ``denied``
                   ``retry`` ``error`` ``ping`` ``pong``
=================  ==================================================================
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeAlias

from turbo.delivery.client_json import decode
from turbo.exceptions import FrameError

__all__ = [
    "LIMITED",
    "PING",
    "CloseCode",
    "Limits",
    "PageEvent",
    "PageProtocol",
    "PageSubscription",
    "Pinged",
    "Refused",
    "Subscribe",
    "Unsubscribe",
    "Wanted",
    "message_frame",
]


class CloseCode(IntEnum):
    """Why the server closes a connection; clients act on the number."""

    #: The process ends; come back after a random moment.
    RESTART = 1012
    #: A frame was larger than the server takes.
    TOO_BIG = 1009
    #: More was asked for than one may, or the server failed; come back later.
    AGAIN = 4013
    #: The subscriber does not read; come back, what it missed is replayed.
    SLOW = 4008
    #: The subscriber may not connect; do not come back.
    FORBIDDEN = 4403


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one subscriber may ask for."""

    frame_bytes: int = 65_536
    streams: int = 100
    name_chars: int = 2_048


@dataclass(frozen=True, slots=True)
class Wanted:
    """One stream that a client asks for, and the position at which it stands."""

    signed: str
    since: str


@dataclass(frozen=True, slots=True)
class Subscribe:
    """The client wants these streams."""

    wanted: tuple[Wanted, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """The client leaves these subscriptions."""

    ended: tuple[PageSubscription, ...]
    frames: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pinged:
    """The client asks whether anybody is there; answer with ``frame``."""

    frame: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The client's frame makes no sense; answer with ``frame``."""

    frame: str


PageEvent: TypeAlias = Subscribe | Unsubscribe | Pinged | Refused


@dataclass(frozen=True, slots=True)
class PageSubscription:
    """One accepted name: what the page holds, and the stream that it means."""

    signed: str
    name: str
    sid: str


def _frame(*, ensure_ascii: bool = True, **fields: Any) -> str:
    # What a client sent may hold lone surrogates, which only survive as ASCII escapes.
    return json.dumps(fields, ensure_ascii=ensure_ascii, separators=(",", ":"))


PING = _frame(type="ping")
_PONG = _frame(type="pong")
#: What a client is told whose frames are read more slowly from now on.
LIMITED = _frame(
    type="error", reason="limit", detail="Frames come faster than is allowed."
)


def message_frame(sid: str, *, position: str, data: str | None) -> str:
    """
    Return the frame that carries one message, the same for every subscriber.

    >>> message_frame("z7r3", position="k3:8", data="<b>")
    '{"type":"message","stream":"z7r3","position":"k3:8","data":"<b>"}'
    >>> message_frame("z7r3", position="k3:8", data=None)
    '{"type":"gap","stream":"z7r3","position":"k3:8"}'
    """
    if data is None:
        return _frame(type="gap", stream=sid, position=position)
    return _frame(
        ensure_ascii=False, type="message", stream=sid, position=position, data=data
    )


@dataclass(slots=True)
class PageProtocol:
    """
    The state of one subscriber: which names it holds, within which limits.

    Feed every frame to :meth:`receive`. For each :class:`Subscribe` event decide about
    each wanted name, and send what :meth:`accept`, :meth:`deny` or :meth:`retry`
    returns, in the client's order.
    """

    limits: Limits = field(default_factory=Limits)
    subscriptions: dict[str, PageSubscription] = field(default_factory=dict)

    def receive(self, text: str | None) -> PageEvent:
        """Return what a frame asks for; ``None`` stands for a binary frame."""
        try:
            return self._parse(text)
        except FrameError as error:
            return Refused(
                _frame(type="error", reason=error.reason, detail=error.detail)
            )

    def accept(
        self, subscription: PageSubscription, *, position: str, recovered: bool
    ) -> str:
        """Take a subscription on, and return the frame that says so."""
        self.subscriptions[subscription.signed] = subscription
        return _frame(
            type="subscribed",
            name=subscription.signed,
            stream=subscription.sid,
            position=position,
            recovered=recovered,
        )

    def deny(self, signed: str, *, reason: str) -> str:
        """Drop a name for good, and return the frame that says so."""
        self.subscriptions.pop(signed, None)
        return _frame(type="denied", name=signed, reason=reason)

    def retry(self, signed: str, *, reason: str = "unavailable") -> str:
        """Drop a name for now, and return the frame that asks to come again."""
        self.subscriptions.pop(signed, None)
        return _frame(type="retry", name=signed, reason=reason)

    def holds(self, sid: str) -> bool:
        """Return whether any name of this page means the stream ``sid``."""
        return any(s.sid == sid for s in self.subscriptions.values())

    def _parse(self, text: str | None) -> PageEvent:
        frame = decode(text, limit=self.limits.frame_bytes)
        match frame.get("type"):
            case "subscribe":
                return Subscribe(self._wanted(frame.get("streams")))
            case "unsubscribe":
                return self._unsubscribe(frame.get("streams"))
            case "ping":
                return Pinged(_PONG)
            case unknown:
                raise FrameError(
                    "unknown_type",
                    f"type is {_shown(unknown)}, not 'subscribe', 'unsubscribe' or "
                    f"'ping'.",
                )

    def _wanted(self, streams: Any) -> tuple[Wanted, ...]:
        self._require_list(streams)
        wanted: dict[str, Wanted] = {}
        for item in streams:
            if not isinstance(item, dict):
                raise FrameError("invalid", "Each of 'streams' is an object.")
            signed = self._require_name(item.get("name"))
            since = item.get("since") or ""
            if not isinstance(since, str) or len(since) > self.limits.name_chars:
                raise FrameError("invalid", "'since' is a short string.")
            wanted[signed] = Wanted(signed, since)
        return tuple(wanted.values())

    def _unsubscribe(self, streams: Any) -> Unsubscribe:
        self._require_list(streams)
        for signed in streams:
            self._require_name(signed)
        names = tuple(dict.fromkeys(streams))
        ended = tuple(
            held for name in names if (held := self.subscriptions.pop(name, None))
        )
        frames = tuple(_frame(type="unsubscribed", name=name) for name in names)
        return Unsubscribe(ended, frames)

    def _require_list(self, streams: Any) -> None:
        if not isinstance(streams, list) or not streams:
            raise FrameError("invalid", "'streams' is a list that is not empty.")
        if len(streams) > self.limits.streams:
            raise FrameError(
                "invalid", f"'streams' holds at most {self.limits.streams} entries."
            )

    def _require_name(self, signed: Any) -> str:
        if not isinstance(signed, str) or not signed:
            raise FrameError("invalid", "'name' is a string that is not empty.")
        if len(signed) > self.limits.name_chars:
            raise FrameError(
                "invalid", f"'name' holds at most {self.limits.name_chars} characters."
            )
        return signed


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
