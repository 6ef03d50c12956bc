"""
Measure a page under load in Chromium: its tasks, and what visits leave behind.

A task of 50 ms or more delays what somebody types or scrolls.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from itertools import count

import pytest
import pytest_asyncio
from playwright.async_api import Page

from tests.browser.scripted import Site
from tests.browser.watching import connected

pytestmark = pytest.mark.browser

SECONDS = int(os.environ.get("TURBO_BENCH_SECONDS", "30"))
APPENDS, UPDATES = 1_000, 100  # a second
STEPS = 50  # a second
ROWS = 2_000
VISITS = int(os.environ.get("TURBO_BENCH_VISITS", "500"))
LONG_TASK = 50
STYLE = "<style>#rows { height: 300px; overflow: auto; contain: strict } "
STYLE += "li { content-visibility: auto; contain-intrinsic-size: auto 20px }</style>"


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[Site]:
    async with Site().running() as site:
        yield site


def row(number: int) -> str:
    return f'<li id="row_{number}">row {number}</li>'


async def test_no_task_is_long_while_many_messages_come(site: Site, page: Page) -> None:
    rows = "".join(map(row, range(ROWS)))
    body = f'{site.source("live")}<ul id="rows">{rows}</ul>'
    site.views["/"] = lambda: site.html(head=STYLE, body=body)
    await page.goto(site.url())
    await connected(page)
    await page.evaluate(
        """() => {
            window.tasks = []
            new PerformanceObserver((list) => {
              for (const { duration } of list.getEntries()) tasks.push(duration)
            }).observe({ type: "longtask" })
        }"""
    )
    numbers = count(ROWS)
    begin = time.monotonic()

    for step in range(SECONDS * STEPS):
        texts = []
        for _ in range(APPENDS // STEPS):
            texts.append(change("append", "rows", row(next(numbers))))
        for place in range(UPDATES // STEPS):
            texts.append(
                change("update", f"row_{(step * 7 + place) % ROWS}", f"{step}")
            )
        await site.publish("live", *texts)
        site.log["live"] = [""] * len(site.log["live"])
        await asyncio.sleep(max(0, begin + (step + 1) / STEPS - time.monotonic()))
    sent = time.monotonic() - begin
    last = next(numbers) - 1
    await page.wait_for_function(
        "(id) => document.getElementById(id)", arg=f"row_{last}"
    )

    shown = time.monotonic() - begin
    tasks = await page.evaluate("tasks")
    print(f"sent in {sent:.1f} s, shown after {shown:.1f} s; {len(tasks)} long tasks")
    print(f"longest: {max(tasks, default=0):.0f} ms")
    assert max(tasks, default=0) < LONG_TASK


def change(action: str, target: str, html: str) -> str:
    return (
        f'<turbo-stream action="{action}" target="{target}">'
        f"<template>{html}</template></turbo-stream>"
    )


async def test_visits_leave_nothing_behind(site: Site, page: Page) -> None:
    rows = "".join(map(row, range(100)))
    site.show("/", "chat", body=f"<ul>{rows}</ul>")
    site.show("/other", "chat", "room", body=f"<ul>{rows}</ul>")
    await page.goto(site.url())
    await connected(page)
    session = await page.context.new_cdp_session(page)
    await session.send("Performance.enable")
    measured = {}

    for number in range(1, VISITS + 1):
        path, sources = ("/other", 2) if number % 2 else ("/", 1)
        await page.evaluate("(path) => Turbo.visit(path)", path)
        await page.wait_for_function("(p) => location.pathname === p", arg=path)
        await connected(page, sources)
        if number % 100 == 0:
            await session.send("HeapProfiler.collectGarbage")
            found = (await session.send("Performance.getMetrics"))["metrics"]
            metrics = {one["name"]: one["value"] for one in found}
            names = ("Nodes", "JSEventListeners", "JSHeapUsedSize")
            measured[number] = [metrics[name] for name in names]
            print(number, measured[number])

    (nodes, listeners, heap), last = measured[100], measured[VISITS]
    assert last[:2] == [nodes, listeners]
    # Turbo remembers where each visit was scrolled to.
    assert last[2] - heap < 2_000 * (VISITS - 100)
