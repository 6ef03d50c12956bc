"""Of many messages alike the first and the last go out, and none too often."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pytest

from tests.support.servers import PATIENCE
from turbo.delivery.throttle import Throttle
from turbo.replay.base import Append
from turbo.replay.memory import MemoryReplay

SID = "stream"
#: Longer than any test.
LONG = 3_600.0


class Turns(MemoryReplay):
    """Answers claims from a list: the seconds to wait, or what goes wrong."""

    answers: ClassVar[list[float | Exception]] = []
    claims: ClassVar[list[tuple[str, float]]] = []

    round_trips: ClassVar[list[int]] = []

    async def claim_each(self, keys: Sequence[str], *, seconds: float) -> list[float]:
        self.round_trips.append(len(keys))
        return await super().claim_each(keys, seconds=seconds)

    async def claim(self, key: str, *, seconds: float) -> float:
        self.claims.append((key, seconds))
        answer = self.answers.pop(0) if self.answers else 0.0
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def turns(settings: Any) -> Callable[..., None]:
    """Script the answers to the claims that follow."""

    def script(*answers: float | Exception, **options: Any) -> None:
        Turns.answers[:], Turns.claims[:], Turns.round_trips[:] = answers, [], []
        backend = {"REPLAY_BACKEND": "tests.delivery.test_throttle.Turns"}
        settings.TURBO = backend | options

    return script


class Sent(list[str | None]):
    """The data sent, in order."""

    def __init__(self) -> None:
        self.throttle = Throttle(self._send)
        self._changed = asyncio.Event()

    def _send(self, message: Append) -> None:
        self.append(message.data)
        self._changed.set()

    async def until(self, number: int) -> list[str | None]:
        """Wait for so many messages, and for whatever else was about to be sent."""
        while len(self) < number:
            self._changed.clear()
            await asyncio.wait_for(self._changed.wait(), PATIENCE)
        await asyncio.sleep(0)
        return list(self)


def message(data: str | None) -> Append:
    return Append(SID, data)


async def test_the_first_goes_out_at_once(turns: Callable[..., None]) -> None:
    turns(REFRESH_INTERVAL=0.25)
    sent = Sent()

    sent.throttle.ask(message("a"), "s")

    assert sent.throttle.waiting() == 1
    assert await sent.until(1) == ["a"]
    assert sent.throttle.waiting() == 0
    assert Turns.claims == [("refresh:stream", 0.25)]


async def test_those_that_follow_are_one_at_the_end(
    turns: Callable[..., None],
) -> None:
    turns(0.0, 0.001)
    sent = Sent()
    sent.throttle.ask(message("a"), "s")
    await sent.until(1)

    for _ in range(3):
        sent.throttle.ask(message("a"), "s")

    assert sent.throttle.waiting() == 1
    assert await sent.until(2) == ["a", "a"]


async def test_those_that_differ_are_summed_up(turns: Callable[..., None]) -> None:
    turns()
    sent = Sent()

    for data in ("a", "b", "a"):
        sent.throttle.ask(message(data), "s")

    assert await sent.until(1) == ["s"]


@pytest.mark.parametrize("order", [["a", None], [None, "a"]])
async def test_a_gap_stands_for_everything(
    turns: Callable[..., None], order: list[str | None]
) -> None:
    turns()
    sent = Sent()

    for data in order:
        sent.throttle.ask(message(data), "s")

    assert await sent.until(1) == [None]


async def test_progress_is_about_what_waited_then(turns: Callable[..., None]) -> None:
    turns(0.0, LONG)
    sent = Sent()
    loop = asyncio.get_running_loop()

    sent.throttle.put(loop, message("a"), "s")
    is_sent = sent.throttle.progress()
    assert not is_sent()
    assert await sent.until(1) == ["a"]
    sent.throttle.put(loop, message("b"), "s")

    assert is_sent()
    later = sent.throttle.progress()
    sent.throttle.put(loop, message("c"), "s")  # it takes the place of b
    await asyncio.sleep(0)
    assert not later()
    sent.throttle.release()
    assert later()
    await sent.throttle.stop()


async def test_streams_do_not_wait_for_each_other(turns: Callable[..., None]) -> None:
    turns(LONG)
    sent = Sent()

    sent.throttle.ask(message("a"), "s")
    sent.throttle.ask(Append("other", "b"), "s")

    assert await sent.until(1) == ["b"]
    assert sent.throttle.waiting() == 1
    await sent.throttle.stop()


async def test_who_has_waited_long_enough_waits_no_more(
    turns: Callable[..., None],
) -> None:
    turns(*[0.01] * 9, REFRESH_MAX_WAIT=0.03)
    sent = Sent()

    sent.throttle.ask(message("a"), "s")

    assert await sent.until(1) == ["a"]
    assert len(Turns.claims) == 3


async def test_many_streams_claim_their_turns_together(
    turns: Callable[..., None],
) -> None:
    turns()
    sent = Sent()

    for number in range(20):
        sent.throttle.ask(Append(f"s{number}", f"{number}"), "s")

    assert await sent.until(20) == [str(number) for number in range(20)]
    assert Turns.round_trips == [20]


async def test_a_thread_wakes_the_loop_once(turns: Callable[..., None]) -> None:
    class Loop:
        calls: ClassVar[list[Callable[[], None]]] = []

        def call_soon_threadsafe(self, callback: Callable[[], None]) -> None:
            self.calls.append(callback)

    turns()
    sent, loop = Sent(), Loop()

    for data in ("a", "b"):
        sent.throttle.put(loop, message(data), "s")  # type: ignore[arg-type]
    assert (len(loop.calls), sent.throttle.waiting()) == (1, 2)
    loop.calls[0]()
    sent.throttle.put(loop, Append("other", "c"), "s")  # type: ignore[arg-type]
    assert (len(loop.calls), sent.throttle.waiting()) == (2, 2)
    loop.calls[1]()

    assert await sent.until(2) == ["s", "c"]


async def test_a_claim_that_fails_is_none(turns: Callable[..., None]) -> None:
    """Regression: another process might have it, and one more was sent than is said."""
    turns(ConnectionError(), REFRESH_INTERVAL=0.001)
    sent = Sent()

    sent.throttle.ask(message("a"), "s")

    assert await sent.until(1) == ["a"]
    assert len(Turns.claims) == 2


async def test_an_outage_of_the_log_is_waited_for_no_longer_than_another_turn(
    turns: Callable[..., None],
) -> None:
    turns(*[ConnectionError()] * 9, REFRESH_INTERVAL=0.01, REFRESH_MAX_WAIT=0.03)
    sent = Sent()

    sent.throttle.ask(message("a"), "s")

    assert await sent.until(1) == ["a"]
    assert len(Turns.claims) == 3


async def test_what_is_asked_for_while_sending_is_sent_as_well(
    turns: Callable[..., None],
) -> None:
    turns()
    seen: list[str | None] = []

    def send(item: Append) -> None:
        seen.append(item.data)
        if len(seen) == 1:
            throttle.ask(message("b"), "s")

    throttle = Throttle(send)
    throttle.ask(message("a"), "s")
    await finished(throttle)

    assert seen == ["a", "b"]


async def test_release_sends_at_once_what_waits(turns: Callable[..., None]) -> None:
    turns(0.001)
    sent = Sent()
    sent.throttle.ask(message("a"), "s")
    for _ in range(5):  # until it has claimed its turn
        await asyncio.sleep(0)
    assert len(Turns.claims) == 1

    sent.throttle.release()

    assert sent == ["a"]
    assert sent.throttle.waiting() == 0
    await finished(sent.throttle)
    assert sent == ["a"]


async def test_stop_forgets_what_waits(turns: Callable[..., None]) -> None:
    turns(LONG)
    sent = Sent()
    sent.throttle.ask(message("a"), "s")
    await asyncio.sleep(0)

    await sent.throttle.stop()

    assert sent == []
    assert sent.throttle.waiting() == 0


async def finished(throttle: Throttle) -> None:
    """Wait for the tasks of the throttle."""
    await asyncio.wait_for(asyncio.gather(*throttle._tasks.values()), PATIENCE)
