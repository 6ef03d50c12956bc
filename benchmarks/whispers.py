"""Measure what people cost who are typing, each of whom all others of a room see."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import websockets

from benchmarks.processes import Redis
from benchmarks.systems import django_site, page_of, start_site, subscribe

__all__ = ["Whispers", "measure_whispers", "whispers"]

PEOPLE = 100
#: Seconds between two whispers of a page, as in the guide on typing.
EVERY = 3.0
SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Whispers:
    """What a server spends, in parts of a core, and what pages get of it."""

    server: float
    redis: float
    sent: int
    received: int


def whispers(redis: Redis) -> Iterator[str]:
    """Report what people in one room and in rooms of ten cost while they type."""
    for layer in ("pubsub", "redis"):
        found = measure_whispers(redis, layer)
        yield (
            f"{PEOPLE} people typing in one room, {layer}: {found.server:.1%} of a "
            f"core, and {found.redis:.1%} for Redis; {found.sent} whispers, "
            f"{found.received:,} deliveries in {SECONDS:.0f} s"
        )


def measure_whispers(redis: Redis, layer: str) -> Whispers:
    """Measure one room on one process."""
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        python, env = django_site("ours", layer, Path(name), redis.url)
        page = page_of(python, env)
        running = start_site("ours", Path(name), python, env, page)
        stack.callback(running.server.stop)
        return asyncio.run(_measure(running, redis, page))


async def _measure(running: Any, redis: Redis, page: dict[str, Any]) -> Whispers:
    people = [_Person(page, number) for number in range(PEOPLE)]
    async with asyncio.TaskGroup() as group:
        for person in people:
            group.create_task(person.come(running.port))
    tasks = [asyncio.ensure_future(person.type()) for person in people]
    tasks += [asyncio.ensure_future(person.read()) for person in people]
    await asyncio.sleep(EVERY)
    before = running.server.cost().cpu, redis.cost().cpu, _totals(people)
    await asyncio.sleep(SECONDS)
    after = running.server.cost().cpu, redis.cost().cpu, _totals(people)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for person in people:
        await person.socket.close()
    return Whispers(
        (after[0] - before[0]) / SECONDS,
        (after[1] - before[1]) / SECONDS,
        after[2][0] - before[2][0],
        after[2][1] - before[2][1],
    )


def _totals(people: list[_Person]) -> tuple[int, int]:
    return sum(p.sent for p in people), sum(p.received for p in people)


class _Person:
    """A page that whispers, and hears the others."""

    socket: Any

    def __init__(self, page: dict[str, Any], number: int) -> None:
        self._page = page
        self._number = number
        self.sent = self.received = 0

    async def come(self, port: int) -> None:
        """Open the page and wait until it shows the stream."""
        self.socket = await websockets.connect(
            f"ws://127.0.0.1:{port}/ws/",
            origin=f"http://127.0.0.1:{port}",
            additional_headers={"Cookie": f"sessionid={self._page['session']}"},
            ping_interval=None,
            compression=None,
        )
        await self.socket.send(subscribe(self._page["typing"]))
        while json.loads(await self.socket.recv())["type"] != "subscribed":
            pass

    async def type(self) -> None:
        """Whisper in turn with the others."""
        whisper = {"whisper": "typing", "data": {"name": "Ada"}}
        frame = {"type": "whisper", "name": self._page["typing"]} | whisper
        text = json.dumps(frame)
        await asyncio.sleep(EVERY * self._number / PEOPLE)
        while True:
            await self.socket.send(text)
            self.sent += 1
            await asyncio.sleep(EVERY)

    async def read(self) -> None:
        """Count what is heard."""
        async for text in self.socket:
            self.received += text.count("action=")
