"""Code of the application in threads: whose turn it is, and for how long."""

from __future__ import annotations

import asyncio
import threading

import pytest
from django.test import override_settings

from tests.support.servers import PATIENCE
from turbo.runtime import threads
from turbo.runtime.threads import in_thread, in_turn

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


async def test_there_are_as_many_threads_as_the_setting_says_now(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Regression: there were as many as it had said when the first was needed."""
    # Those of other tests stay: a database in memory is only closed with its thread.
    monkeypatch.setattr(threads, "_pool", None)
    everybody_is_there = threading.Barrier(6)
    await in_thread(threading.get_ident)

    with override_settings(TURBO={"PERMISSION_THREADS": 6}):
        meeting = [in_thread(everybody_is_there.wait, PATIENCE) for _ in range(6)]
        places = await asyncio.gather(*meeting)

    assert sorted(places) == [0, 1, 2, 3, 4, 5]
