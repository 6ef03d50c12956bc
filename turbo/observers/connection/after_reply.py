"""What an action returns, and callbacks to run after its answer was sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Self

from turbo.observers.wire.requests import Call

__all__ = ["Afterwards", "Answer", "after_answer", "begun_in", "current_call"]


class Answer(tuple[Any, int]):
    """``(data, status)`` with further keys for the envelope."""

    extra: Mapping[str, Any]

    def __new__(
        cls, data: Any, status: int, *, extra: Mapping[str, Any] | None = None
    ) -> Self:
        """Return the pair."""
        answer = super().__new__(cls, (data, status))
        answer.extra = extra or {}
        return answer


class Afterwards:
    """The callbacks to run after the answer to an action."""

    def __init__(self, call: Call, *, generation: int) -> None:
        self.call = call
        #: The generation of the consumer's revocations when permissions were checked.
        self.generation = generation
        self._callbacks: list[Callable[[], None]] | None = []
        self._token = _current.set(self)

    def add(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` after the answer is sent, or now if it has been sent."""
        if self._callbacks is None:
            callback()
        else:
            self._callbacks.append(callback)

    def run(self) -> None:
        """Run the callbacks; the answer has been sent."""
        _current.reset(self._token)
        callbacks, self._callbacks = self._callbacks or [], None
        for callback in callbacks:
            callback()


_current: ContextVar[Afterwards | None] = ContextVar("turbo_afterwards", default=None)


def current_call() -> Call | None:
    """Return the call that the running code answers, if any."""
    afterwards = _current.get()
    return afterwards.call if afterwards is not None else None


def begun_in(generation: int) -> int:
    """Return the generation in which the running action began, or ``generation``."""
    afterwards = _current.get()
    return afterwards.generation if afterwards is not None else generation


def after_answer(callback: Callable[[], None]) -> None:
    """Run ``callback`` after the running action is answered, or now if none runs."""
    afterwards = _current.get()
    if afterwards is None:
        callback()
    else:
        afterwards.add(callback)
