"""Questions that come together are answered together, and each gets its own answer."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from turbo.runtime.batching import MOST, batched, deduplicated, limited


class Oracle:
    """Doubles numbers, and keeps what it was asked at once."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.ask = batched(self.answer)

    async def answer(self, questions: list[int]) -> list[int]:
        self.asked.append(questions)
        await self.gate.wait()
        if 13 in questions:
            raise LookupError
        return [2 * question for question in questions]


async def settle() -> None:
    """Let every task come to where it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_who_asks_alone_is_answered_alone() -> None:
    oracle = Oracle()

    assert await oracle.ask(1) == 2
    assert await oracle.ask(2) == 4
    assert oracle.asked == [[1], [2]]


async def test_who_asks_meanwhile_is_answered_with_the_others() -> None:
    oracle = Oracle()
    oracle.gate.clear()
    asking = [asyncio.ensure_future(oracle.ask(1))]
    await settle()
    asking += [asyncio.ensure_future(oracle.ask(number)) for number in (2, 3, 4)]
    await settle()
    oracle.gate.set()

    assert await asyncio.gather(*asking) == [2, 4, 6, 8]
    assert oracle.asked == [[1], [2, 3, 4]]


async def test_a_crowd_is_answered_in_parts() -> None:
    oracle = Oracle()

    answers = await asyncio.gather(*(oracle.ask(n) for n in range(100, 101 + MOST)))

    assert answers == [2 * n for n in range(100, 101 + MOST)]
    assert list(map(len, oracle.asked)) == [MOST, 1]


async def test_a_failure_is_theirs_who_waited_for_that_answer() -> None:
    oracle = Oracle()

    failed = await asyncio.gather(oracle.ask(13), oracle.ask(1), return_exceptions=True)

    assert [type(error) for error in failed] == [LookupError, LookupError]
    assert await oracle.ask(1) == 2


async def test_the_wrong_number_of_answers_is_a_failure() -> None:
    """Regression: those who had asked were cancelled, as if by their own callers."""

    @batched
    async def ask(questions: list[int]) -> list[int]:
        return questions[1:]

    found = await asyncio.gather(*map(ask, range(3)), return_exceptions=True)

    assert [type(error) for error in found] == [ValueError] * 3


@pytest.mark.parametrize("number", [1, 13])
async def test_who_has_gone_is_not_answered(number: int) -> None:
    oracle = Oracle()
    oracle.gate.clear()
    gone = asyncio.ensure_future(oracle.ask(number))
    await settle()
    gone.cancel()
    oracle.gate.set()

    assert await oracle.ask(2) == 4


def test_a_loop_that_ends_leaves_nobody_waiting() -> None:
    oracle: Any = None
    asking: list[asyncio.Task[int]] = []

    async def end_too_early() -> None:
        nonlocal oracle
        oracle = Oracle()
        oracle.gate.clear()
        asking.append(asyncio.ensure_future(oracle.ask(1)))
        await settle()
        asking.append(asyncio.ensure_future(oracle.ask(2)))
        await settle()

    asyncio.run(end_too_early())

    assert [task.cancelled() for task in asking] == [True, True]


def test_each_loop_answers_for_itself() -> None:
    oracle: Any = None

    async def ask() -> int:
        nonlocal oracle
        oracle = oracle or Oracle()
        answer: int = await oracle.ask(1)
        return answer

    assert [asyncio.run(ask()), asyncio.run(ask())] == [2, 2]


async def test_it_is_nobodys_context_in_particular() -> None:
    """Else what one request has set would count for others, and after its end."""
    mine: ContextVar[str] = ContextVar("mine", default="nobody's")

    @batched
    async def whose(questions: list[int]) -> list[str]:
        return [mine.get() for _ in questions]

    mine.set("mine")

    assert await whose(1) == "nobody's"


async def test_so_many_work_at_once_and_no_more() -> None:
    inside = most = 0

    @limited(2)
    async def work(number: int) -> int:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1
        if number == 3:
            raise ValueError("three")
        return 2 * number

    answers = await asyncio.gather(*map(work, range(7)), return_exceptions=True)

    assert most == 2
    assert isinstance(answers.pop(3), ValueError)
    assert answers == [0, 2, 4, 8, 10, 12]


def test_each_loop_counts_those_who_work_for_itself() -> None:
    """A lock that somebody has waited for belongs to that one's loop."""

    @limited(1)
    async def work() -> None:
        await asyncio.sleep(0)

    async def three() -> None:
        await asyncio.gather(work(), work(), work())

    for _ in range(2):
        asyncio.run(three())


async def test_no_question_is_asked_twice() -> None:
    oracle = Oracle()

    answers = await deduplicated([[1, 2], [], [2, 3]], oracle.answer)

    assert answers == [[2, 4], [], [4, 6]]
    assert oracle.asked == [[1, 2, 3]]


async def test_nothing_is_asked_of_nobody() -> None:
    oracle = Oracle()

    assert await deduplicated([[], []], oracle.answer) == [[], []]
    assert oracle.asked == []
