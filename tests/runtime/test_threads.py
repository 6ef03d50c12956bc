"""Code of the application in threads: whose turn it is, and for how long."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.support.servers import PATIENCE
from turbo.runtime.threads import in_turn

pytestmark = pytest.mark.django_db(transaction=True)


async def test_an_owner_who_leaves_keeps_the_turn_until_the_thread_is_done() -> None:
    begun, go_on = threading.Event(), threading.Event()
    at_work: list[int] = []

    def work(number: int) -> None:
        at_work.append(number)
        begun.set()
        go_on.wait(PATIENCE)
        at_work.remove(number)

    first = asyncio.ensure_future(in_turn("eve", work, 1))
    await asyncio.to_thread(begun.wait, PATIENCE)
    for asked in (first, asyncio.ensure_future(in_turn("eve", work, 2))):
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
    begun.clear()
    third = asyncio.ensure_future(in_turn("eve", work, 3))
    assert await in_turn("ann", at_work.copy) == [1]

    go_on.set()
    await third

    assert at_work == []
    assert await in_turn("eve", at_work.copy) == []
