"""
Measure text that grows: ``python -m benchmarks.texts [--chunks N] [--pages N]``.

One process writes the chunks of an answer, as a model gives them; another one serves
the pages. The same text is sent as growing text, and as whole ``update`` messages, one
for each chunk, which is what an application would do without it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import django
import psutil

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.test import override_settings  # noqa: E402

from tests.support.clients import LivePage  # noqa: E402
from tests.support.servers import (  # noqa: E402
    Project,
    Uvicorn,
    Valkey,
    channel_layer,
)
from tests.support.text_pages import TextPage  # noqa: E402
from tests.testapp.streams import Announcements  # noqa: E402
from turbo.delivery.broadcast import flush, shut_down  # noqa: E402

PATIENCE = 600
#: Chunks in a second, as a fast model gives them.
RATE = 100
WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "and",
    "goes",
    "on",
    "",
]


@dataclass
class Found:
    """What one page has got, and how old the text was when it arrived."""

    seconds: float
    cpu: float
    frames: float
    size: float
    ages: list[float] = field(repr=False)

    def __str__(self) -> str:
        ages = sorted(1e3 * age for age in self.ages)
        p99 = ages[int(0.99 * len(ages))]
        return (
            f"{self.frames / self.seconds:6.1f} frames/s a page, "
            f"{self.size / 1024:9.1f} KB a page, "
            f"chunk to page {statistics.median(ages):.0f} ms, p99 {p99:.0f} ms, "
            f"server {self.cpu:.1f} s of CPU in {self.seconds:.0f} s"
        )


class GrowingPage(TextPage):
    """Notes when it has reached each length."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.reached: list[tuple[int, float]] = []

    async def _hear(self, frame: dict[str, Any]) -> None:
        await super()._hear(frame)
        self.reached.append((len(self.text), time.monotonic()))


class UpdatedPage(LivePage):
    """The same for whole messages."""

    def __init__(self, url: str, signed: str) -> None:
        super().__init__(url, signed)
        self.reached: list[tuple[int, float]] = []
        self.frames = self.size = 0

    async def _hear(self, frame: dict[str, Any], socket: Any) -> None:
        await super()._hear(frame, socket)
        if frame["type"] == "message":
            self.frames += 1
            self.size += len(frame["data"])
            text = frame["data"].split("<template>")[1].split("</template>")[0]
            self.reached.append((len(text), time.monotonic()))


def main() -> None:
    """Measure both, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=2_000)
    parser.add_argument("--pages", type=int, default=200)
    options = parser.parse_args()
    rng = random.Random(0)
    chunks = [f"{rng.choice(WORDS)} " for _ in range(options.chunks)]
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(measure(Path(name), chunks, options.pages))


async def measure(directory: Path, chunks: list[str], count: int) -> None:
    """Start a Redis and a server, and measure one way after the other."""
    valkey = Valkey(directory)
    valkey.start()
    layers = {"default": channel_layer("redis", valkey.url)}
    database = {"default": settings.DATABASES["default"]}
    project = Project(directory, {"CHANNEL_LAYERS": layers, "DATABASES": database})
    server = Uvicorn(project)
    await asyncio.to_thread(server.start)
    try:
        with override_settings(CHANNEL_LAYERS=layers):
            print("growing text:", await _growing(server, chunks, count), flush=True)
            print("whole update:", await _updated(server, chunks, count), flush=True)
            shut_down(5)
    finally:
        server.stop()
        valkey.stop()


async def _growing(server: Any, chunks: list[str], count: int) -> Found:
    pages = [GrowingPage(server.url) for _ in range(count)]
    await asyncio.gather(*(page.__aenter__() for page in pages))
    written: list[tuple[int, float]] = []
    begun, cpu = time.monotonic(), _cpu(server)
    async with Announcements().text(id="answer") as text:
        length = 0
        for chunk in chunks:
            text.write(chunk)
            length += len(chunk)
            written.append((length, time.monotonic()))
            await asyncio.sleep(1 / RATE)
    await asyncio.gather(*(page.until_ended() for page in pages))
    found = _found(pages, written, begun, _cpu(server) - cpu)
    for page in pages:
        await page.__aexit__()
    return found


async def _updated(server: Any, chunks: list[str], count: int) -> Found:
    signed = Announcements().signed_stream_name
    pages = [UpdatedPage(server.ws_url, signed) for _ in range(count)]
    await asyncio.gather(*(page.__aenter__() for page in pages))
    written: list[tuple[int, float]] = []
    begun, cpu = time.monotonic(), _cpu(server)
    text = ""
    for chunk in chunks:
        text += chunk
        Announcements().update(text=text, id="answer")
        written.append((len(text), time.monotonic()))
        await asyncio.sleep(1 / RATE)
    await asyncio.to_thread(flush, PATIENCE)
    for page in pages:
        await page.until(lambda p=page: p.reached and p.reached[-1][0] == len(text))
    found = _found(pages, written, begun, _cpu(server) - cpu)
    for page in pages:
        await page.__aexit__()
    return found


def _cpu(server: Any) -> float:
    times = psutil.Process(server.pid).cpu_times()
    return float(times.user + times.system)


def _found(
    pages: list[Any], written: list[tuple[int, float]], begun: float, cpu: float
) -> Found:
    """Return for each chunk and page how long it took until it was there."""
    seconds = time.monotonic() - begun
    ages = []
    for page in pages:
        reached = iter(page.reached)
        length, at = next(reached)
        for wanted, then in written:
            while length < wanted:
                length, at = next(reached)
            ages.append(at - then)
    frames = statistics.mean(page.frames for page in pages)
    size = statistics.mean(page.size for page in pages)
    return Found(seconds, cpu, frames, size, ages)


if __name__ == "__main__":
    main()
