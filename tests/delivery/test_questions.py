"""Pages ask the log while they are rendered, and wait for it once."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.servers import PATIENCE, wait_until
from turbo.delivery import questions
from turbo.delivery.questions import Questions, Unanswered


class Log:
    """Answers "yes" when it may."""

    def __init__(self) -> None:
        self.asked = self.ended = 0
        self.may_answer = threading.Event()
        self.error: Exception | None = None

    async def question(self) -> str:
        self.asked += 1
        try:
            if self.error is not None:
                raise self.error
            await asyncio.to_thread(self.may_answer.wait, PATIENCE)
        finally:
            self.ended += 1
        return "yes"


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """The loop of another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE)
    loop.close()


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    yield log
    log.may_answer.set()


def test_only_the_first_page_waits(
    loop: asyncio.AbstractEventLoop, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No question stays behind."""
    monkeypatch.setattr(questions, "PATIENCE", 0.05)
    ours = Questions(loop, clock=lambda: 0.0)

    for _ in range(20):
        with pytest.raises(Unanswered):
            ours.ask(log.question)

    wait_until(lambda: log.ended == 1)
    assert log.asked == 1


def test_now_and_then_a_page_finds_out_whether_there_are_answers(
    loop: asyncio.AbstractEventLoop, log: Log
) -> None:
    now = 0.0
    ours, log.error = Questions(loop, clock=lambda: now), ConnectionError("no log")
    with pytest.raises(Unanswered, match="no log"):
        ours.ask(log.question)

    log.error = None
    log.may_answer.set()
    with pytest.raises(Unanswered):
        ours.ask(log.question)
    assert log.asked == 1
    now += 2 * PATIENCE
    with pytest.raises(Unanswered):  # nor does this one wait
        ours.ask(log.question)
    wait_until(lambda: log.ended == 2)
    wait_until(lambda: ours._is_answered)

    assert ours.ask(log.question) == "yes"


def test_what_was_found_out_long_ago_tells_nothing(
    loop: asyncio.AbstractEventLoop, log: Log
) -> None:
    """A job that asks once in an hour must not miss an answer."""
    now = 0.0
    ours, log.error = Questions(loop, clock=lambda: now), ConnectionError("no log")
    with pytest.raises(Unanswered):
        ours.ask(log.question)

    log.error = None
    log.may_answer.set()
    now += 3_600

    assert ours.ask(log.question) == "yes"


def test_a_signal_is_no_answer(loop: asyncio.AbstractEventLoop, log: Log) -> None:
    """As the soft time limit of a task queue, which is an exception of its handler."""

    class TooLong(Exception):
        pass

    def stop(*args: Any) -> None:
        raise TooLong

    async def question() -> str:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        return await log.question()

    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with pytest.raises(TooLong):
            Questions(loop).ask(question)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_what_the_log_refuses_is_an_answer(
    loop: asyncio.AbstractEventLoop, log: Log
) -> None:
    ours, log.error = Questions(loop), ValueError("no such place")

    for _ in range(3):
        with pytest.raises(Unanswered, match="no such place"):
            ours.ask(log.question)
    assert log.asked == 3


async def test_a_page_that_is_rendered_on_a_loop_waits_for_less(
    loop: asyncio.AbstractEventLoop, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that the loop does waits with it. A late answer counts."""
    monkeypatch.setattr(questions, "PATIENCE", PATIENCE)
    monkeypatch.setattr(questions, "PATIENCE_OF_LOOP", 0.01)
    ours = Questions(loop)

    for _ in range(20):
        with pytest.raises(Unanswered):
            ours.ask(log.question)
    log.may_answer.set()
    await asyncio.to_thread(wait_until, lambda: ours._is_answered)

    assert log.asked == 1


async def test_who_awaits_the_answer_waits_on_the_own_loop(
    loop: asyncio.AbstractEventLoop, log: Log
) -> None:
    log.may_answer.set()

    assert await Questions(loop).aask(log.question) == "yes"


async def test_a_page_that_is_cancelled_takes_its_question_along(
    loop: asyncio.AbstractEventLoop, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(questions, "PATIENCE", PATIENCE)
    ours = Questions(loop)
    task = asyncio.ensure_future(ours.aask(log.question))
    await asyncio.to_thread(wait_until, lambda: log.asked == 1)

    task.cancel()
    await asyncio.to_thread(wait_until, lambda: log.ended == 1)

    log.may_answer.set()
    assert await ours.aask(log.question) == "yes"
