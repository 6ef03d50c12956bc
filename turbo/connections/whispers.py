"""
Whispers: signals that pages of a stream pass on to each other, such as "is typing".

A page whispers to a stream that it shows, with one of the names that the stream
declares::

    class RoomStream(turbo.ModelStream):
        class Meta:
            model = Room
            whispers = ("typing",)

The server adds whose page it was, and passes this on to all other pages of the stream::

    <turbo-stream action="whisper" stream="z7r3…" name="typing" user="7"
      data="{&quot;draft&quot;:true}"></turbo-stream>

Whispers have no number and are not stored: they reach who shows the stream now. One is
passed on at once, and those that closely follow it together.
"""

from __future__ import annotations

import asyncio
import json
from contextvars import Context
from typing import Any

from turbo.connections.visitor import Visitor
from turbo.delivery.broadcast import pass_on_whispers
from turbo.delivery.names import user_key
from turbo.delivery.protocol import Whisper
from turbo.exceptions import FrameError
from turbo.runtime.failures import log_failure
from turbo.runtime.loops import PerLoop
from turbo.runtime.threads import answer_of, in_turn
from turbo.streams.html import element
from turbo.streams.registry import from_name
from turbo.streams.stream import Stream

__all__ = ["pass_on_whisper", "whisper_element"]

#: Seconds after a whisper for which others wait, to be passed on together.
PAUSE = 0.1


async def whisper_element(whisper: Whisper, visitor: Visitor) -> str:
    """
    Return the element that the other pages of the stream get.

    Raises :exc:`~turbo.exceptions.FrameError` if the visitor may not.
    """
    stream = from_name(whisper.subscription.name)
    names = stream.options.whispers
    if isinstance(names, str) or whisper.name not in names:
        raise FrameError("unknown_whisper", "The stream does not declare this whisper.")
    if not visitor.budget.spend("whispers"):
        raise FrameError("limit", "Whispers come faster than is allowed.")
    if hasattr(stream, "on_whisper"):
        await _ask(stream, whisper, visitor)
    attributes = {
        "stream": whisper.subscription.sid,
        "name": whisper.name,
        "user": user_key(visitor.user),
        "data": whisper.data,
    }
    return element("whisper", attributes=attributes)


def pass_on_whisper(name: str, signal: str, sender: str) -> None:
    """Pass an element on to all pages of a stream but the connection ``sender``."""
    _waiting.get().put(name, signal, sender)


class _Waiting:
    """The whispers of one event loop that will be passed on together."""

    def __init__(self) -> None:
        #: By stream; ``None`` if the next one is passed on at once.
        self._waiting: dict[str, list[tuple[str, str]]] | None = None

    def put(self, name: str, signal: str, sender: str) -> None:
        if self._waiting is not None:
            self._waiting.setdefault(name, []).append((sender, signal))
            return
        pass_on_whispers(name, [(sender, signal)])
        self._rest()

    def _rest(self) -> None:
        self._waiting = {}
        loop = asyncio.get_running_loop()
        loop.call_later(PAUSE, self._pass_on, context=Context())

    def _pass_on(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting:
            for name, whispers in waiting.items():
                pass_on_whispers(name, whispers)
            self._rest()


_waiting = PerLoop(_Waiting)


async def _ask(stream: Stream, whisper: Whisper, visitor: Visitor) -> None:
    """Call the stream's own ``on_whisper()``, which may refuse."""

    def call() -> Any:
        hook: Any = getattr(stream, "on_whisper")  # noqa: B009
        data = json.loads(whisper.data)
        return answer_of(hook(whisper.name, data, visitor.user))

    try:
        answer = await in_turn(visitor.budget.owner, call)
    except Exception as error:
        log_failure(
            f"{type(stream).__qualname__}.on_whisper() failed; the whisper is refused.",
            error,
        )
        answer = False
    if answer is False:
        raise FrameError("refused", "The stream refuses this whisper.")
