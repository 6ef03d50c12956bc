"""
Calls of ``user_passes_test()``, one at a time for each visitor and stream, in turns.

If the stream has audiences, ``get_audience()`` is called together with it.

Callers that ask the same question before its test has begun share the answer. A caller
that asks while the test runs waits for the next test, because something may have
changed meanwhile. So no test runs twice at the same time, and no answer is older than
its question.

A quick test needs no turn: it runs together with the other database queries. The time
of earlier calls shows which tests are quick.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeGuard

from turbo.connections.visitor import Visitor
from turbo.delivery.names import user_key
from turbo.runtime.failures import log_failure
from turbo.runtime.forks import Lock, after_in_child
from turbo.runtime.loops import PerLoop
from turbo.runtime.namespaces import bare_context, is_used
from turbo.runtime.tasks import detach
from turbo.runtime.threads import answer_of, in_turns
from turbo.streams.audiences import declared
from turbo.streams.stream import Stream

__all__ = ["Permission", "ask", "ask_quickly"]

#: The reason for a page that may not see a stream.
FORBIDDEN = "forbidden"


class Permission(NamedTuple):
    """
    Why a visitor may not see a stream, and their audience.

    The reason is ``""`` if they may. The audience is ``""`` if the stream has none.
    """

    reason: str = ""
    audience: str = ""


class Tested(Protocol):
    """An object with a permission test: a stream, or the consumer of a binding."""

    def user_passes_test(self, user: Any) -> Any:
        """Return whether a user may see it; may be a coroutine function."""


class _Question:
    """The question whether a visitor may see a stream."""

    def __init__(self, stream: Tested, user: Any, before: _Question | None) -> None:
        self.has_begun = False
        self.answer: asyncio.Future[Permission] = (
            asyncio.get_running_loop().create_future()
        )
        self._stream, self._user = stream, user
        self._before = before  # the same question, whose test runs now
        self._answer = Permission(FORBIDDEN)
        self._waiting = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def waits(self) -> bool:
        """Return whether the test is a coroutine."""
        return test_waits(self._stream)

    def share(self, stream: Tested, user: Any) -> bool:
        """Use these newer objects; return whether the test has not begun."""
        with _lock:
            if self.has_begun or self.answer.done():
                return False
            self._stream, self._user = stream, user
            return True

    def join(self) -> asyncio.Future[Permission]:
        """Return the answer; it may be cancelled without effect on other callers."""
        self._waiting += 1
        return asyncio.shield(self.answer)

    def leave(self) -> None:
        """Stop waiting. If nobody waits, the test is not called, or it is cancelled."""
        self._waiting -= 1
        if self._waiting or self.answer.done():
            return
        if self._task is not None:
            self._task.cancel()
        if self._task is not None or not self.has_begun:
            self.tell()

    def begin(self) -> None:
        """Start the test of a coroutine function as a task."""
        work = self.aask()  # in an empty context, because it works for all callers
        self._task = asyncio.get_running_loop().create_task(
            work, context=bare_context()
        )

    def ask(self) -> None:
        """Call a synchronous test; for threads."""
        stream, user = self._begin()
        begun = time.monotonic()
        self._answer = _answer(stream, user)
        _note_cost(stream, time.monotonic() - begun)

    async def aask(self) -> None:
        """Async version of ask()."""
        try:
            if self._before is not None:
                await asyncio.wait([self._before.answer], timeout=PATIENCE)
                self._before = None
            stream, user = self._begin()
            self._answer = await _aanswer(stream, user)
        finally:
            self.tell()

    def _begin(self) -> tuple[Tested, Any]:
        with _lock:
            self.has_begun = True
            return self._stream, self._user

    def tell(self) -> None:
        """Give the answer to all waiting callers; call this in the loop."""
        if not self.answer.done():
            self.answer.set_result(self._answer)


def test_waits(stream: Tested) -> bool:
    """
    Return whether all that a stream is asked are coroutine functions, for the loop.

    With namespaces they run in a thread that has entered one, for their queries.
    """
    if is_used():
        return False
    if not _has_audiences(stream):
        return inspect.iscoroutinefunction(stream.user_passes_test)
    return inspect.iscoroutinefunction(stream.get_audience) and (
        not stream.tests_user() or inspect.iscoroutinefunction(stream.user_passes_test)
    )


def _has_audiences(stream: Tested) -> TypeGuard[Stream]:
    return isinstance(stream, Stream) and bool(stream.options.audiences)


def _answer(stream: Tested, user: Any) -> Permission:
    try:
        passed = answer_of(stream.user_passes_test(user))
    except Exception as error:
        return _failed(stream, "user_passes_test", error)
    if not passed:
        return Permission(FORBIDDEN)
    if not _has_audiences(stream):
        return Permission()
    try:
        return Permission("", declared(stream, answer_of(stream.get_audience(user))))
    except Exception as error:
        return _failed(stream, "get_audience", error)


async def _aanswer(stream: Tested, user: Any) -> Permission:
    """Async version of _answer()."""
    try:
        passed = await _awaited(stream.user_passes_test(user))
    except Exception as error:
        return _failed(stream, "user_passes_test", error)
    if not passed:
        return Permission(FORBIDDEN)
    if not _has_audiences(stream):
        return Permission()
    try:
        return Permission(
            "", declared(stream, await _awaited(stream.get_audience(user)))
        )
    except Exception as error:
        return _failed(stream, "get_audience", error)


async def _awaited(asked: Any) -> Any:
    return await asked if inspect.isawaitable(asked) else asked


def _failed(stream: Tested, method: str, error: Exception) -> Permission:
    log_failure(
        f"{type(stream).__qualname__}.{method}() failed; the subscription is refused.",
        error,
    )
    return Permission(FORBIDDEN)


#: Seconds after which a test that hangs no longer delays the same question.
PATIENCE = 60.0
#: Seconds up to which a test counts as quick.
QUICK = 0.01
#: The factor by which each further test reduces the time of the slowest one.
FORGETTING = 0.9

# The times that tests of each class take, and when the running tests began, by class
# and thread. Any thread may write to them, because the entries are independent.
_costs: dict[type[Tested], float] = {}
_begun: dict[tuple[type[Tested], int], float] = {}
# The latest open question of each kind, by event loop.
_open: PerLoop[dict[tuple[Hashable, str], _Question]] = PerLoop(dict)
_lock = Lock()  # held while a question begins or gets other objects


@after_in_child
def _after_fork() -> None:
    # Tests that ran in the parent never end here, and would count as slow.
    _begun.clear()


async def ask(streams: Mapping[str, Tested], visitor: Visitor) -> dict[str, Permission]:
    """Return, by name, whether ``visitor`` may see each of ``streams``."""
    new: list[_Question] = []
    asked = {name: _question(name, streams[name], visitor, new) for name in streams}
    plain = [question for question in new if not question.waits]
    if plain:
        _run(_ask_plain(plain, visitor.budget.owner))
    for question in new:
        if question.waits:
            question.begin()
    try:
        answers = await asyncio.gather(*[each.join() for each in asked.values()])
    finally:
        for question in asked.values():
            question.leave()
    return dict(zip(asked, answers, strict=True))


def ask_quickly(stream: Tested, user: Any) -> Permission | None:
    """
    Return whether ``user`` may see ``stream``; for threads.

    Return ``None`` if the test may take long and has to run separately.
    """
    if test_waits(stream):
        user_key(user)  # loads the user here, because the loop cannot
        return None
    cls, begun = type(stream), time.monotonic()
    if _costs.get(cls, 0.0) > QUICK or any(
        tested is cls and begun - since > QUICK
        for (tested, _), since in list(_begun.items())
    ):
        return None
    key = cls, threading.get_ident()
    _begun[key] = begun
    try:
        return _answer(stream, user)
    finally:
        del _begun[key]
        _note_cost(stream, time.monotonic() - begun)


def _note_cost(stream: Tested, seconds: float) -> None:
    """Note the time of a test; one slow test counts for the next few dozen."""
    cls = type(stream)
    _costs[cls] = max(seconds, _costs.get(cls, 0.0) * FORGETTING)


def _question(
    name: str, stream: Tested, visitor: Visitor, new: list[_Question]
) -> _Question:
    """Return the question to wait for; add it to ``new`` if it is a new one."""
    known = _open.get()
    key = visitor.key, name
    question = known.get(key)
    if question is not None and question.share(stream, visitor.user):
        return question
    made = known[key] = _Question(stream, visitor.user, before=question)
    new.append(made)

    def close(_: asyncio.Future[Permission]) -> None:
        if known.get(key) is made:
            del known[key]

    made.answer.add_done_callback(close)
    return made


async def _ask_plain(questions: Sequence[_Question], owner: Hashable) -> None:
    def tell(question: _Question) -> Callable[[], None]:
        loop = asyncio.get_running_loop()

        def step() -> None:
            if question.answer.done():
                return  # all callers have left
            question.ask()
            loop.call_soon_threadsafe(question.tell)

        return step

    try:
        await in_turns(owner, [tell(question) for question in questions])
    finally:
        for question in questions:
            question.tell()


def _run(work: Coroutine[Any, Any, None]) -> None:
    # It goes on when its first caller is cancelled, because others may wait for it.
    detach(work, context=bare_context())
