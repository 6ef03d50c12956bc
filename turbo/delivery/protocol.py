"""
The protocol of one subscriber, without I/O.

:class:`PageProtocol` turns the text of a client's frames into events. The caller acts
on them and gets the frames for the answer from it. It reads no clock, no setting and no
socket, so WebSocket and SSE, tests and fuzzers use the same code.

The frames, all JSON objects with a ``type``:

=================  ==================================================================
from the client    ``subscribe`` ``unsubscribe`` ``text`` ``whisper`` ``ping``
from the server    ``subscribed`` ``message`` ``gap`` ``unsubscribed`` ``denied``
                   ``retry`` ``error`` ``ping`` ``pong``
=================  ==================================================================
"""

from __future__ import annotations

import json
from contextlib import suppress
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
    "TextWanted",
    "Unsubscribe",
    "Wanted",
    "Whisper",
    "error_frame",
    "message_frame",
]

#: The most bytes of a whisper's data, as JSON.
WHISPER_BYTES = 1_024


class CloseCode(IntEnum):
    """Reasons why the server closes a connection; clients act on the number."""

    #: The process ends. The client reconnects after a random time.
    RESTART = 1012
    #: A frame was larger than the server allows.
    TOO_BIG = 1009
    #: The client asked for too much, or the server failed. It reconnects later.
    AGAIN = 4013
    #: The client does not read. It reconnects, and missed messages are replayed.
    SLOW = 4008
    #: The client may not connect and must not try again.
    FORBIDDEN = 4403


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one subscriber."""

    frame_bytes: int = 65_536
    streams: int = 100
    name_chars: int = 2_048


@dataclass(frozen=True, slots=True)
class Wanted:
    """One stream that a client asks for, and the client's position in it."""

    signed: str
    since: str


@dataclass(frozen=True, slots=True)
class Subscribe:
    """The client asks for these streams."""

    wanted: tuple[Wanted, ...]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """The client ends these subscriptions."""

    ended: tuple[PageSubscription, ...]
    frames: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TextWanted:
    """The client asks what it lacks of a growing text, of which it has ``at``."""

    subscription: PageSubscription
    id: str
    run: int
    at: int


@dataclass(frozen=True, slots=True)
class Pinged:
    """The client sent a ping; answer with ``frame``."""

    frame: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The client's frame is not valid; answer with ``frame``."""

    frame: str


@dataclass(frozen=True, slots=True)
class Whisper:
    """The client passes ``data``, a JSON text, on to the other pages of a stream."""

    subscription: PageSubscription
    name: str
    data: str


PageEvent: TypeAlias = Subscribe | Unsubscribe | TextWanted | Whisper | Pinged | Refused


@dataclass(frozen=True, slots=True)
class PageSubscription:
    """One accepted name: the page's signed name, and the stream that it means."""

    signed: str
    name: str
    sid: str
    #: The audience for which the page was rendered, if the stream has audiences.
    audience: str = ""


def _frame(**fields: Any) -> str:
    # A client's text may hold lone surrogates, which only ASCII escapes can carry.
    return json.dumps(fields, separators=(",", ":"))


_quote = json.JSONEncoder(ensure_ascii=False).encode


def error_frame(reason: str, detail: str) -> str:
    """Return the frame that says what was wrong with a client's frame."""
    return _frame(type="error", reason=reason, detail=detail)


PING = _frame(type="ping")
_PONG = _frame(type="pong")
#: The frame for a client whose frames are read more slowly from now on.
LIMITED = error_frame("limit", "Frames come faster than is allowed.")


#: Characters of the id of a growing text.
_ID_CHARS = 255


def message_frame(sid: str, *, position: str, data: str | None) -> str:
    """
    Return the frame of one message; it is the same for all subscribers.

    >>> message_frame("z7r3", position="k3:8", data="<b>")
    '{"type":"message","stream":"z7r3","position":"k3:8","data":"<b>"}'
    >>> message_frame("z7r3", position="k3:8", data=None)
    '{"type":"gap","stream":"z7r3","position":"k3:8"}'
    """
    if data is None:
        return _frame(type="gap", stream=sid, position=position)
    # An encoder is quick with a string, and is made anew for each object.
    return (
        f'{{"type":"message","stream":{_quote(sid)},"position":{_quote(position)},'
        f'"data":{_quote(data)}}}'
    )


@dataclass(slots=True)
class PageProtocol:
    """
    The state of one subscriber: its names and its limits.

    Pass every frame to :meth:`receive`. For each :class:`Subscribe` event, decide about
    each wanted name, and send the result of :meth:`accept`, :meth:`deny` or
    :meth:`retry`, in the client's order.
    """

    limits: Limits = field(default_factory=Limits)
    subscriptions: dict[str, PageSubscription] = field(default_factory=dict)

    def receive(self, text: str | None) -> PageEvent:
        """Return the event of a frame; ``None`` stands for a binary frame."""
        try:
            return self._parse(text)
        except FrameError as error:
            return Refused(error_frame(error.reason, error.detail))

    def accept(
        self, subscription: PageSubscription, *, position: str, recovered: bool
    ) -> str:
        """Add a subscription, and return the frame that confirms it."""
        self.subscriptions[subscription.signed] = subscription
        return _frame(
            type="subscribed",
            name=subscription.signed,
            stream=subscription.sid,
            position=position,
            recovered=recovered,
        )

    def deny(self, signed: str, *, reason: str) -> str:
        """Remove a name, and return the frame that denies it permanently."""
        self.subscriptions.pop(signed, None)
        return _frame(type="denied", name=signed, reason=reason)

    def retry(self, signed: str, *, reason: str = "unavailable") -> str:
        """Remove a name, and return the frame that asks the client to try again."""
        self.subscriptions.pop(signed, None)
        return _frame(type="retry", name=signed, reason=reason)

    def holds(self, sid: str) -> bool:
        """Return whether a name of this page means the stream ``sid``."""
        return any(s.sid == sid for s in self.subscriptions.values())

    def _parse(self, text: str | None) -> PageEvent:
        frame = decode(text, limit=self.limits.frame_bytes)
        match frame.get("type"):
            case "subscribe":
                return Subscribe(self._wanted(frame.get("streams")))
            case "unsubscribe":
                return self._unsubscribe(frame.get("streams"))
            case "text":
                return self._text(frame)
            case "whisper":
                return self._whisper(frame)
            case "ping":
                return Pinged(_PONG)
            case unknown:
                raise FrameError(
                    "unknown_type",
                    f"type is {_shown(unknown)}, not 'subscribe', 'unsubscribe', "
                    f"'text', 'whisper' or 'ping'.",
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

    def _text(self, frame: dict[str, Any]) -> TextWanted:
        name, id = self._require_name(frame.get("name")), frame.get("id")
        if not isinstance(id, str) or not 0 < len(id) <= _ID_CHARS or not _is_whole(id):
            raise FrameError("invalid", f"'id' is a string of 1 to {_ID_CHARS}.")
        run, at = frame.get("run") or 0, frame.get("at") or 0
        if type(run) is not int or type(at) is not int:
            raise FrameError("invalid", "'run' and 'at' are whole numbers.")
        if (held := self.subscriptions.get(name)) is None:
            raise FrameError("not_subscribed", "'name' is one that is subscribed to.")
        return TextWanted(held, id, run, at)

    def _whisper(self, frame: dict[str, Any]) -> Whisper:
        signed = self._require_name(frame.get("name"))
        subscription = self.subscriptions.get(signed)
        if subscription is None:
            raise FrameError("not_subscribed", "Whisper to streams that you follow.")
        name = frame.get("whisper")
        if not isinstance(name, str):
            raise FrameError("invalid", "'whisper' is a string.")
        return Whisper(subscription, name, _whispered(frame.get("data")))

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


def _is_whole(text: str) -> bool:
    """Return whether a text can be sent back: no socket can send lone surrogates."""
    return text.isascii() or text.encode(errors="ignore").decode() == text


def _whispered(value: Any) -> str:
    """Return the data of a whisper as JSON, if they are short enough."""
    with suppress(RecursionError):
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        data = text.encode(errors="replace")  # no socket can send lone surrogates
        if len(data) <= WHISPER_BYTES:
            return data.decode()
    raise FrameError(
        "too_large", f"The data of a whisper hold at most {WHISPER_BYTES} bytes."
    )


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
