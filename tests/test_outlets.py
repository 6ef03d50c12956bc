"""Outlets are made once, work on the publisher's loop, and are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tests.servers import PATIENCE
from turbo.runtime.queue import Outlets


class Drawer:
    """An outlet that sends what waits in it when it is allowed to."""

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


async def test_an_outlet_is_made_once_and_works() -> None:
    empty = asyncio.Event()
    outlets = Outlets(asyncio.get_running_loop(), empty.set)
    assert outlets.waiting() == 0

    drawer = outlets.get(Drawer)
    assert outlets.get(Drawer) is drawer
    assert outlets.waiting() == 2
    drawer.open.set()
    await asyncio.wait_for(empty.wait(), PATIENCE)

    assert outlets.waiting() == 0
    await outlets.stop()


async def test_kinds_are_kept_apart() -> None:
    outlets = Outlets(asyncio.get_running_loop(), lambda: None)

    first, second = outlets.get(Drawer), outlets.get(Counted)

    assert (type(first), type(second)) == (Drawer, Counted)
    assert outlets.waiting() == 4
    await asyncio.sleep(0)
    await outlets.stop()


async def test_threads_that_ask_at_once_get_the_same_one() -> None:
    Counted.made = 0
    outlets = Outlets(asyncio.get_running_loop(), lambda: None)

    found = await asyncio.gather(
        *(asyncio.to_thread(outlets.get, Counted) for _ in range(8))
    )

    assert set(map(id, found)) == {id(found[0])}
    assert Counted.made == 1
    await asyncio.sleep(0)
    await outlets.stop()


async def test_what_waits_at_the_end_is_lost() -> None:
    outlets = Outlets(asyncio.get_running_loop(), lambda: None)
    drawer = outlets.get(Drawer)
    await asyncio.sleep(0)

    await outlets.stop()
    drawer.open.set()
    await asyncio.sleep(0)

    assert drawer.waiting() == 2
