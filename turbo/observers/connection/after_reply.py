"""What actions return, and what happens once that has been sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Self

from turbo.observers.wire.requests import Call

__all__ = ["Afterwards", "Answer", "after_answer", "begun_in", "current_call"]


class Answer(tuple[Any, int]):
    """``(data, status)``, and further keys of the envelope."""

    extra: Mapping[str, Any]

    def __new__(
        cls, data: Any, status: int, *, extra: Mapping[str, Any] | None = None
    ) -> Self:
        """Return the pair."""
        answer = super().__new__(cls, (data, status))
        answer.extra = extra or {}
        return answer


class Afterwards:
    """What waits for the answer to an action."""

    def __init__(self, call: Call, *, generation: int) -> None:
        self.call = call
        #: The consumer's generation when the permissions were asked.
        self.generation = generation
        self._callbacks: list[Callable[[], None]] | None = []
        self._token = _current.set(self)

    def add(self, callback: Callable[[], None]) -> None:
        """Call back once the answer is sent; at once if it was."""
        if self._callbacks is None:
            callback()
        else:
            self._callbacks.append(callback)

    def run(self) -> None:
        """Call back: the answer was sent."""
        _current.reset(self._token)
        callbacks, self._callbacks = self._callbacks or [], None
        for callback in callbacks:
            callback()


_current: ContextVar[Afterwards | None] = ContextVar("turbo_afterwards", default=None)


def current_call() -> Call | None:
    """Return the call that the running code answers, if it does."""
    afterwards = _current.get()
    return afterwards.call if afterwards is not None else None


def begun_in(generation: int) -> int:
    """Return the generation in which the running action began; without one, this."""
    afterwards = _current.get()
    return afterwards.generation if afterwards is not None else generation


def after_answer(callback: Callable[[], None]) -> None:
    """Call back once the action that runs has been answered; at once if none does."""
    afterwards = _current.get()
    if afterwards is None:
        callback()
    else:
        afterwards.add(callback)
