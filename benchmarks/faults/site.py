"""A site that is put under faults: Redis, servers, writers and pages."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from benchmarks.faults.hosts import LOCAL, Host
from benchmarks.faults.pages import Page
from benchmarks.faults.records import Place, Result, Writer, compare
from tests.support.servers import (
    ROOT,
    AsgiServer,
    Daphne,
    Project,
    Uvicorn,
    channel_layer,
    wait_until,
)
from tests.testapp.streams import Counter
from turbo.replay.redis import RedisReplay

__all__ = ["Load", "Site"]

#: Seconds for the pages to get what they lack, after the last fault.
SETTLE = 120


@dataclass(frozen=True, slots=True)
class Load:
    """How much a site has to do."""

    pages: int = 50
    writers: int = 4
    streams: int = 10
    #: Messages per second of each writer.
    rate: float = 20.0


@dataclass(slots=True)
class WriterProcess:
    """Where somebody writes; a writer that has ended may be followed by another."""

    host: Host
    start: Callable[[], tuple[subprocess.Popen[bytes], Path]]
    running: tuple[subprocess.Popen[bytes], Path] | None = None
    ended: list[Writer] = field(default_factory=list)

    def begin(self) -> None:
        self.running = self.start()

    def end(self, number: signal.Signals) -> None:
        """End the process, and read what it has handed over."""
        assert self.running is not None
        process, log = self.running
        process.send_signal(number)
        process.wait(240)
        self.ended.append(_read(log, killed=number == signal.SIGKILL))
        self.running = None


class Site:
    """Servers, writers and pages that use a Redis: ``async with Site(…) as site``."""

    def __init__(
        self,
        directory: Path,
        host: dict[str, Any],
        *,
        layer: str,
        replay_hosts: list[Any] | None = None,
        load: Load,
        places: Callable[[str], Host] = lambda name: LOCAL,
    ) -> None:
        self.directory, self.load = directory, load
        self.log_hosts = replay_hosts or [host]
        layers = channel_layer(layer)
        layers["CONFIG"]["hosts"] = [host]
        database = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
        settings = {
            "ALLOWED_HOSTS": ["*"],
            "CHANNEL_LAYERS": {"default": layers},
            "DATABASES": {"default": database},
            "TURBO": {"REPLAY_HOSTS": self.log_hosts},
        }
        self.project = Project(directory, settings)
        fast = ("--ws", "turbo.server:WebSocketProtocol")
        self.servers: list[AsgiServer] = [
            Daphne(self.project),
            Uvicorn(self.project, *fast),
            Uvicorn(self.project),
        ]
        self.hosts = [places(f"server{n}") for n in range(len(self.servers))]
        for server, place in zip(self.servers, self.hosts, strict=True):
            place.place(server)
        self.writers = [
            WriterProcess(place := places(f"writer{n}"), self._writer(f"w{n}", place))
            for n in range(load.writers)
        ]
        self.pages: list[Page] = []
        #: Seconds since the start, the gaps so far, and the bytes of each server.
        self.samples: list[tuple[int, int, list[int]]] = []
        self.result = Result()
        self._began = time.monotonic()

    async def __aenter__(self) -> Self:
        for server in self.servers:
            await asyncio.to_thread(server.start)
        urls = [server.ws_url for server in self.servers]
        self.pages = [
            Page(urls[n % len(urls) :] + urls[: n % len(urls)], n % self.load.streams)
            for n in range(self.load.pages)
        ]
        await asyncio.gather(*(page.__aenter__() for page in self.pages))
        for writer in self.writers:
            await asyncio.to_thread(writer.begin)
        self._sampling = asyncio.ensure_future(self._sample())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._sampling.cancel()
        await asyncio.gather(*(page.__aexit__() for page in self.pages))
        for writer in self.writers:
            if writer.running:
                writer.running[0].kill()
        for server in self.servers:
            await asyncio.to_thread(server.kill)

    async def finish(self) -> None:
        """End the writers, wait until the pages have everything, and compare."""
        self.say("the writers end")
        ends = (asyncio.to_thread(w.end, signal.SIGTERM) for w in self.writers)
        await asyncio.gather(*ends)
        for _ in range(SETTLE // 2):
            if not self._compare().lost:
                break
            await asyncio.sleep(2)
        self.result = self._compare(await self._log())

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s  {text}", flush=True)

    def _compare(self, log: dict[Any, Any] | None = None) -> Result:
        writers = [ended for writer in self.writers for ended in writer.ended]
        return compare(writers, [page.record for page in self.pages], log)

    async def _log(self) -> dict[tuple[int, Place], tuple[str, int]]:
        """Return what the replay log has kept."""
        log = RedisReplay(hosts=self.log_hosts)
        kept = {}
        for stream in range(self.load.streams):
            name = Counter(stream).stream_id
            [now] = await log.read([(name, "")])
            since = f"{now.epoch}:{max(0, now.tip - 90)}"
            [history] = await log.read([(name, since)])
            for entry in history.entries:
                if entry.data:
                    writer, number, _ = entry.data.split("<template>")[1].split(" ", 2)
                    place = Place(now.epoch, entry.number)
                    kept[stream, place] = writer, int(number)
        await log.aclose()
        return kept

    def _writer(
        self, name: str, host: Host
    ) -> Callable[[], tuple[subprocess.Popen[bytes], Path]]:
        """Return a function that starts a writer with a name of its own."""
        numbers = iter(range(1_000_000))

        def start() -> tuple[subprocess.Popen[bytes], Path]:
            own = f"{name}.{next(numbers)}"
            log = self.directory / f"{own}.sent"
            log.touch()
            command = [*host.prefix, sys.executable, "-m", "benchmarks.faults.writer"]
            command += [own, str(self.load.rate), str(self.load.streams), str(log)]
            with (self.directory / f"{own}.log").open("wb") as out:
                process = subprocess.Popen(
                    command, cwd=ROOT, env=self.project.env, stdout=out, stderr=out
                )
            wait_until(lambda: log.stat().st_size > 0, what=f"{own} writes")
            return process, log

        return start

    async def _sample(self) -> None:
        while True:
            used = [_memory(s.pid) if s.running else 0 for s in self.servers]
            gaps = sum(page.gaps for page in self.pages)
            self.samples.append((round(time.monotonic() - self._began), gaps, used))
            await asyncio.sleep(10)


def _memory(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def _read(log: Path, *, killed: bool) -> Writer:
    writer = Writer(log.stem, killed=killed)
    lines = log.read_text().splitlines()
    for line in lines:
        stream, number, *at = line.split()
        if stream == "end":
            if number != "True":
                raise RuntimeError(f"{writer.name} could not send all")
        elif at:  # a line may be cut off by a kill
            writer.sent.setdefault(int(stream), {})[int(number)] = float(at[0])
    if not killed and not lines[-1].startswith("end"):
        raise RuntimeError(
            f"{writer.name} ended by itself, see {log.with_suffix('.log')}"
        )
    return writer
