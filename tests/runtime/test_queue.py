"""What is put on a queue is done in order, in batches, and waited for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

import pytest
from django.test import override_settings

from tests.support.servers import PATIENCE
from turbo import metrics
from turbo.runtime.queue import KeyedQueues, Progress, Queue, Queues
from turbo.runtime.tasks import Tasks


class Work:
    """Notes each batch, and waits until it may go on."""

    def __init__(self, *, batch: int = 3) -> None:
        self.batches: list[list[str]] = []
        self.began, self.may_go_on = asyncio.Event(), asyncio.Event()
        self.may_go_on.set()
        self.drained = asyncio.Event()
        self.full = 0
        self.queue: Queue[str] = Queue(
            asyncio.get_running_loop(),
            self.work,
            batch=batch,
            on_full=self.on_full,
            drained=self.drained.set,
        )

    async def work(self, batch: list[str]) -> None:
        self.batches.append(batch)
        self.began.set()
        await self.may_go_on.wait()

    def on_full(self) -> None:
        self.full += 1
        self.queue.drop_oldest(lambda item: "some are missing")

    async def until_drained(self) -> None:
        await asyncio.wait_for(self.drained.wait(), PATIENCE)
        self.drained.clear()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = Tasks()
        tasks.run(self.queue.run())
        yield
        await tasks.stop()


# --- One queue and its task


async def test_what_was_put_is_done_in_order_and_in_batches() -> None:
    work = Work(batch=3)
    for item in "abcd":
        work.queue.put(item)
    assert work.queue.waiting() == 4

    async with work.running():
        await work.until_drained()

    assert work.batches == [["a", "b", "c"], ["d"]]
    assert work.queue.waiting() == 0


async def test_any_thread_may_put_and_wakes_the_task_again() -> None:
    work = Work()

    async with work.running():
        await asyncio.to_thread(work.queue.put, "a")
        await work.until_drained()
        await asyncio.to_thread(work.queue.put, "b")
        await work.until_drained()

    assert work.batches == [["a"], ["b"]]


async def test_what_is_being_done_still_waits() -> None:
    work = Work(batch=2)
    work.may_go_on.clear()
    for item in "abc":
        work.queue.put(item)

    async with work.running():
        await asyncio.wait_for(work.began.wait(), PATIENCE)
        assert work.queue.waiting() == 3
        assert not work.drained.is_set()
        work.may_go_on.set()
        await work.until_drained()

    assert work.queue.waiting() == 0


async def test_what_comes_while_something_is_done_is_not_forgotten() -> None:
    work = Work()
    work.may_go_on.clear()
    work.queue.put("a")

    async with work.running():
        await asyncio.wait_for(work.began.wait(), PATIENCE)
        work.queue.put("b")
        work.may_go_on.set()
        await work.until_drained()

    assert work.batches == [["a"], ["b"]]


async def test_a_full_queue_makes_room_and_says_so_once() -> None:
    work = Work(batch=10)
    with override_settings(TURBO={"PUBLISH_QUEUE": 2}):
        for item in "abcd":
            work.queue.put(item)

    assert work.full == 2
    assert work.queue.waiting() == 3
    async with work.running():
        await work.until_drained()

    assert work.batches == [["some are missing", "c", "d"]]


async def test_what_is_dropped_is_never_uncounted() -> None:
    """Regression: flush() could say "all sent" before the gap was on the queue."""
    work = Work()
    counted: list[int] = []
    counting = threading.Thread(target=lambda: counted.append(work.queue.waiting()))

    def replace(item: str) -> str:
        counting.start()
        counting.join(0.05)  # as long as it needs, unless it waits for this function
        return f"{item} is missing"

    work.queue.put("a")
    assert work.queue.drop_oldest(replace) == "a"
    await asyncio.to_thread(counting.join, PATIENCE)

    assert counted == [1]


async def test_threads_that_overflow_it_leave_an_item_or_a_gap() -> None:
    work = Work(batch=3)
    work.queue = Queue(
        asyncio.get_running_loop(),
        work.work,
        batch=3,
        on_full=lambda: work.queue.drop_oldest(lambda item: f"gap {item[-4:]}"),
        drained=work.drained.set,
    )

    def fill(thread: int) -> None:
        for number in range(250):
            work.queue.put(f"item {4 * number + thread:04d}")

    with override_settings(TURBO={"PUBLISH_QUEUE": 2}):
        async with work.running():
            threads = [asyncio.to_thread(fill, thread) for thread in range(4)]
            await asyncio.gather(*threads)
            while work.queue.waiting():
                await work.until_drained()

    done = [item for batch in work.batches for item in batch]
    assert {item[-4:] for item in done} == {f"{n:04d}" for n in range(1_000)}
    assert max(map(len, work.batches)) <= 6


async def test_what_is_put_first_comes_in_batches_too() -> None:
    """Regression: a hundred thousand gaps were sent to Redis at once."""
    work = Work(batch=2)
    for number in range(5):
        work.queue.put_first(f"gap {number}")
    work.queue.put("a")

    async with work.running():
        await work.until_drained()

    assert work.batches == [["gap 0", "gap 1"], ["gap 2", "gap 3"], ["gap 4", "a"]]


async def test_a_task_may_leave_itself_something_to_do_first() -> None:
    queue: Queue[str]
    drained = asyncio.Event()
    batches = []

    async def work(batch: list[str]) -> None:
        batches.append(batch)
        if batch == ["a"]:
            queue.put_first("a was lost")

    loop = asyncio.get_running_loop()
    queue = Queue(loop, work, batch=1, on_full=lambda: None, drained=drained.set)
    tasks = Tasks()
    tasks.run(queue.run())
    queue.put("a")
    queue.put("b")
    await asyncio.wait_for(drained.wait(), PATIENCE)
    await tasks.stop()

    assert batches == [["a"], ["a was lost", "b"]]


async def test_a_batch_that_fails_keeps_nothing_else_from_being_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Regression: the task ended, with one line at INFO."""
    done, failed = [], []
    drained = asyncio.Event()

    async def work(batch: list[str]) -> None:
        if batch == ["bad"]:
            raise LookupError("a bug")
        done.extend(batch)

    queue: Queue[str] = Queue(
        asyncio.get_running_loop(),
        work,
        batch=1,
        on_full=lambda: None,
        drained=drained.set,
        fail=failed.extend,
    )
    before = metrics.counters()["failed"]
    tasks = Tasks()
    tasks.run(queue.run())
    for item in ("good", "bad", "better"):
        queue.put(item)
    await asyncio.wait_for(drained.wait(), PATIENCE)
    await tasks.stop()

    assert (done, failed, queue.waiting()) == (["good", "better"], ["bad"], 0)
    assert metrics.counters()["failed"] == before + 1
    [record] = caplog.records
    assert (record.levelname, record.exc_info[0]) == ("ERROR", LookupError)  # type: ignore[index]


async def test_what_waits_can_be_dropped() -> None:
    queue = Work().queue
    assert queue.drop_oldest(str.upper) is None
    for item in "abc":
        queue.put(item)

    assert queue.drop_oldest(str.upper) == "a"
    assert queue.clear() == 2
    assert queue.waiting() == 1


async def test_progress_is_about_what_waited_then() -> None:
    work = Work(batch=1)
    work.may_go_on.clear()
    work.queue.put("a")
    async with work.running():
        await asyncio.wait_for(work.began.wait(), PATIENCE)
        work.queue.put("b")
        is_sent = work.queue.progress()
        work.queue.put("c")
        assert not is_sent()

        work.began.clear()
        work.may_go_on.set()
        while work.batches[-1] != ["c"]:
            work.may_go_on.clear()
            await asyncio.wait_for(work.began.wait(), PATIENCE)
            work.began.clear()
            if work.batches[-1] != ["c"]:
                assert not is_sent()
                work.may_go_on.set()

        assert work.queue.waiting() == 1
        assert is_sent()
        work.may_go_on.set()


async def test_progress_waits_for_what_stands_for_a_dropped_item() -> None:
    work = Work(batch=1)
    work.queue.put("a")
    is_sent = work.queue.progress()

    work.queue.drop_oldest(str.upper)
    work.queue.put("b")
    work.may_go_on.clear()

    assert not is_sent()
    async with work.running():
        await asyncio.wait_for(work.began.wait(), PATIENCE)
        assert not is_sent()
        work.may_go_on.set()
        await work.until_drained()
    assert work.batches == [["A", "b"]]
    assert is_sent()


def test_progress_goes_from_one_queue_to_the_next() -> None:
    """What the first one sends to the second is waited for, too."""
    sent = {"first": False, "second": True}

    def stages() -> Iterator[Callable[[], bool]]:
        yield lambda: sent["first"]
        sent["second"] = False  # when the first has sent something to it
        yield lambda: sent["second"]

    progress = Progress(stages())
    assert not progress.is_done()
    sent["first"] = True
    assert not progress.is_done()
    sent["second"] = True

    assert progress.is_done()
    assert progress.is_done()


# --- A queue for each key


current: ContextVar[str] = ContextVar("current", default="nobody")


async def test_each_key_has_its_order_and_no_context() -> None:
    done: list[tuple[str, list[int], str]] = []
    all_done = asyncio.Event()

    async def work(key: str, items: list[int]) -> None:
        done.append((key, items, current.get()))
        if len(done) == 2:
            all_done.set()

    queues: KeyedQueues[str, int] = KeyedQueues(work, lambda items: None)
    current.set("ann")
    queues.put("x", 1)
    queues.put("y", 2)
    queues.put("x", 3)

    assert (queues.waiting("x"), queues.last("x"), queues.last("z")) == (2, 3, None)
    await asyncio.wait_for(all_done.wait(), PATIENCE)
    assert done == [("x", [1, 3], "nobody"), ("y", [2], "nobody")]


async def test_what_fails_is_logged_and_told(caplog: pytest.LogCaptureFixture) -> None:
    failed: list[int] = []
    told = asyncio.Event()

    async def work(key: str, items: list[int]) -> None:
        raise ValueError("no")

    def fail(items: list[int]) -> None:
        failed.extend(items)
        told.set()

    queues: KeyedQueues[str, int] = KeyedQueues(work, fail)
    queues.put("x", 1)
    await asyncio.wait_for(told.wait(), PATIENCE)

    assert failed == [1]
    assert "Clients could not be notified of a change." in caplog.text


async def test_who_stops_can_go_on() -> None:
    done: list[int] = []
    all_done = asyncio.Event()

    async def work(key: str, items: list[int]) -> None:
        done.extend(items)
        all_done.set()

    queues: KeyedQueues[str, int] = KeyedQueues(work, lambda items: None)
    queues.put("x", 1)
    queues.stop()
    queues.put("x", 2)
    await asyncio.wait_for(all_done.wait(), PATIENCE)

    assert done == [2]


# --- The queues of the publisher


class Drawer:
    """A queue that sends what waits in it when it is allowed to."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_empty: Callable[[], None]
    ) -> None:
        self.loop = loop
        self.on_empty = on_empty
        self.items = 2
        self.open = asyncio.Event()

    def waiting(self) -> int:
        return self.items

    def progress(self) -> Callable[[], bool]:
        return lambda: not self.items

    async def work(self) -> None:
        await self.open.wait()
        self.items = 0
        self.on_empty()


class Counted(Drawer):
    """Another kind of drawer, of which is known how many were made."""

    made = 0

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_empty: Callable[[], None]
    ) -> None:
        super().__init__(loop, on_empty)
        Counted.made += 1


async def test_a_queue_is_made_once_and_works() -> None:
    empty = asyncio.Event()
    queues = Queues(asyncio.get_running_loop(), empty.set)
    assert queues.waiting() == 0

    drawer = queues.get(Drawer)
    assert queues.get(Drawer) is drawer
    assert queues.waiting() == 2
    is_sent = queues.progress()
    assert not is_sent()
    drawer.open.set()
    await asyncio.wait_for(empty.wait(), PATIENCE)

    assert queues.waiting() == 0
    assert is_sent()
    await queues.stop()


async def test_kinds_are_kept_apart() -> None:
    queues = Queues(asyncio.get_running_loop(), lambda: None)

    first, second = queues.get(Drawer), queues.get(Counted)

    assert (type(first), type(second)) == (Drawer, Counted)
    assert queues.waiting() == 4
    await asyncio.sleep(0)
    await queues.stop()


async def test_threads_that_ask_at_once_get_the_same_one() -> None:
    Counted.made = 0
    queues = Queues(asyncio.get_running_loop(), lambda: None)

    found = await asyncio.gather(
        *(asyncio.to_thread(queues.get, Counted) for _ in range(8))
    )

    assert set(map(id, found)) == {id(found[0])}
    assert Counted.made == 1
    await asyncio.sleep(0)
    await queues.stop()


async def test_what_waits_at_the_end_is_lost() -> None:
    queues = Queues(asyncio.get_running_loop(), lambda: None)
    drawer = queues.get(Drawer)
    await asyncio.sleep(0)

    await queues.stop()
    drawer.open.set()
    await asyncio.sleep(0)

    assert drawer.waiting() == 2
