"""The base class of what grows on pages while it is written: texts and progress."""

from __future__ import annotations

import asyncio
import os
import secrets
from abc import abstractmethod
from concurrent import futures
from types import TracebackType
from typing import Any, Self

from django.db.models import Model

from turbo.delivery.broadcast import get_publisher
from turbo.delivery.names import stream_id
from turbo.delivery.recorders import record, sends
from turbo.exceptions import TargetError, TextError
from turbo.replay.texts import Put, Stored, TextPlace, TextState
from turbo.streams import growing_html
from turbo.streams.html import dom_id
from turbo.streams.text_sender import STUCK, TextWriter, sender

__all__ = ["Growing", "whole"]

#: Characters of the id of a text.
LONGEST_ID = 255


class Growing(TextWriter):
    """
    Something that one block of code writes, also a context manager for ``async with``.

    The block begins it and ends it as finished, or as failed if it raises an exception.
    The beginning waits for the replay log, for a second at most; nothing else waits.
    It does not belong to a transaction.
    """

    def __init__(self, name: str, id: object) -> None:
        text = dom_id(id) if isinstance(id, Model) else str(id)
        if id is None or not text:
            raise TargetError("grow")
        if len(text) > LONGEST_ID or whole(text) != text:
            raise ValueError(
                f"The id of a text has at most {LONGEST_ID} characters, which can all "
                f"be sent: {text[:40]!r}…"
            )
        self.name = name
        self.id = text
        self.place = TextPlace(stream_id(name), text)
        self._writer = secrets.token_hex(8)
        self._run = 0
        self._process = 0  # that has begun it
        self._state: TextState = "writing"
        self._lost = ""  # why nothing can be stored any more

    def start(self) -> Self:
        """
        Begin; raise :exc:`~turbo.exceptions.TextError` if another writer has the id.

        If the log cannot be reached now, what is written is stored when it can be. If
        it keeps no texts, or refuses this one, its error is raised.
        """
        if self._begin() and (claim := sender().claim(self)) is not None:
            try:
                futures.wait([claim], STUCK)
            except BaseException:  # an exception of a signal's handler
                self._withdraw(claim)
                raise
            self._require(claim)
        return self

    async def astart(self) -> Self:
        """Async version of start()."""
        if self._begin() and (claim := sender().claim(self)) is not None:
            try:
                answer = asyncio.wrap_future(claim)
                await asyncio.wait([answer], timeout=STUCK)
            except BaseException:
                self._withdraw(claim)
                raise
            self._require(claim)
        return self

    def fail(self) -> None:
        """End it as failed; what is written so far stays."""
        self._require_writing()
        self._end("failed")

    async def afail(self) -> None:
        """Async version of fail()."""
        self.fail()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        is_elsewhere = self._process != os.getpid()  # in a fork inside the block
        if self._state != "writing" or is_elsewhere or (exc and self._lost):
            return
        self._require_writing()
        self._end("finished" if exc is None else "failed")

    async def __aenter__(self) -> Self:
        """Async version of __enter__()."""
        return await self.astart()

    async def __aexit__(self, *exc_info: Any) -> None:
        """Async version of __exit__()."""
        self.__exit__(*exc_info)

    # --- For subclasses

    @abstractmethod
    def _whole_end(self) -> Put:
        """Return the end with all that was written, for the tools that record."""

    def _changed(self) -> None:
        """Leave word that there is something to send."""
        if sends():
            sender().put(self)
            get_publisher().flush_at_end()

    def _end(self, state: TextState) -> None:
        self._state = state  # last: the sender looks at it first
        if record(self.name, _element(self._whole_end(), self._run)):
            self._changed()

    def _require_writing(self) -> None:
        if self._process != os.getpid():
            reason = "not begun" if not self._process else "of another process"
            raise TextError(self.id, reason)
        if self._lost:
            raise TextError(self.id, "lost", self._lost)
        if self._state != "writing":
            raise TextError(self.id, "ended")

    def _begin(self) -> bool:
        """Note that it begins; return whether this is to be stored."""
        if self._process:
            raise TextError(self.id, "begun")
        self._process = os.getpid()
        return sends()

    def _require(self, claim: futures.Future[Exception | None]) -> None:
        """Raise the error if it must not begin; without an answer it may."""
        if not claim.done():
            claim.cancel()
            sender().note_silence()
        elif (error := claim.result()) is not None:
            raise error

    def _withdraw(self, claim: futures.Future[Exception | None]) -> None:
        """End what may have begun."""
        claim.cancel()
        # One that has a run does not take the place of what another writer has ended.
        self._run = self._run or 1
        self._end("failed")

    # --- For the sender, on its loop

    def give_up(self, reason: str) -> None:
        """Note that nothing can be stored any more."""
        self._lost = reason

    def take(self, put: Put, stored: Stored) -> str:
        """Note what was stored; return the element for pages, if there is one."""
        self._run = stored.run
        self._store(put, stored)
        if stored.at != put.at:
            return ""
        return _element(put, stored.run)

    @abstractmethod
    def _store(self, put: Put, stored: Stored) -> None:
        """Note how far it is stored."""


def whole(text: str) -> str:
    """
    Return a text as every page can show it.

    Both halves of a character that came apart are put together; half a character, and
    NUL, which HTML has no place for, become the character for what is unreadable.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        data = text.encode("utf-16-le", "surrogatepass")
        text = data.decode("utf-16-le", "replace")
    return text.replace("\0", "\ufffd")


def _element(put: Put, run: int) -> str:
    state = None if put.state == "writing" else put.state
    return growing_html.element(put.place.id, run, put.start, put.kind, state, put.data)
