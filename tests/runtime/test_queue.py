"""Queues are made once, work on the publisher's loop, and are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.support.servers import PATIENCE
from turbo.runtime.queue import Queues


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
    drawer.open.set()
    await asyncio.wait_for(empty.wait(), PATIENCE)

    assert queues.waiting() == 0
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
