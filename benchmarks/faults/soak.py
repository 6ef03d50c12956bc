"""
All faults at random.

Each thing that can fail has its own faults, one after the other, which depend on the
seed and its name only; faults of several things overlap.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeAlias

from redis.exceptions import RedisError

from benchmarks.faults.network import Spread, cut
from benchmarks.faults.site import Load, Site, WriterProcess
from tests.support.servers import AsgiServer, Valkey

__all__ = ["run"]

#: What happens, and to what; it gets random numbers of its own.
Fault: TypeAlias = Callable[[random.Random], Awaitable[Any]]


async def run(
    directory: Path, server: type[Valkey], layer: str, seed: str, seconds: float
) -> Site:
    """Let everything fail at random moments."""
    with ExitStack() as stack:
        spread = Spread(directory, server, stack)
        host = {"address": spread.redis.url, "socket_timeout": None}
        options = {"layer": layer, "load": Load(), "places": spread.place}
        async with Site(directory, host, **options) as site:
            await _trouble(site, spread, seed, seconds)
            await site.finish()
        return site


async def _trouble(site: Site, spread: Spread, seed: str, seconds: float) -> None:
    things: dict[str, Sequence[Fault]] = {"redis": RedisFaults(spread.redis).all}
    # One server is never killed, so that its memory can be seen over time.
    for number, server in enumerate(site.servers[:-1]):
        things[f"server{number}"] = [_server_fault(server)]
    for number, writer in enumerate(site.writers):
        things[f"writer{number}"] = [_writer_fault(writer)]
    for name in spread.hosts if spread.network else ():
        things[f"network of {name}"] = [_network_fault(spread, name)]
    for number, page in enumerate(site.pages):
        things[f"page{number}"] = [
            lambda chance, page=page: page.sleep(chance.uniform(0, 40)),
            lambda chance, page=page: page.be_slow(chance.uniform(5, 30)),
        ]
    ended = asyncio.Event()
    loops = [
        asyncio.ensure_future(
            _repeat(site, name, faults, random.Random(f"{seed} {name}"), ended)
        )
        for name, faults in things.items()
    ]
    await asyncio.wait(loops, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    ended.set()
    await asyncio.gather(*loops)


async def _repeat(
    site: Site,
    name: str,
    faults: Sequence[Fault],
    chance: random.Random,
    ended: asyncio.Event,
) -> None:
    pause = 10.0 if name == "redis" else 40.0
    while not ended.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), chance.uniform(0, 2 * pause))
            return
        fault = chance.choice(faults)
        told = await fault(chance)
        if told:
            site.say(f"{name}: {told}")


class RedisFaults:
    """What happens to Redis."""

    def __init__(self, redis: Valkey) -> None:
        self._redis = redis
        self.all: Sequence[Fault] = [
            self._killed,
            self._stopped,
            self._frozen,
            self._command,
            self._command,
        ]

    async def _killed(self, chance: random.Random) -> str:
        await asyncio.to_thread(self._redis.kill)
        return await self._back(chance, "killed")

    async def _stopped(self, chance: random.Random) -> str:
        await asyncio.to_thread(self._redis.stop)
        return await self._back(chance, "stopped")

    async def _back(self, chance: random.Random, what: str) -> str:
        away = chance.uniform(0, 12)
        await asyncio.sleep(away)
        await asyncio.to_thread(self._redis.start)
        return f"{what}, empty again after {away:.1f} s"

    async def _frozen(self, chance: random.Random) -> str:
        away = chance.uniform(0.2, 9)
        self._redis.pause()
        await asyncio.sleep(away)
        self._redis.resume()
        return f"frozen for {away:.1f} s"

    async def _command(self, chance: random.Random) -> str:
        paused = chance.randrange(200, 7_000)
        command = chance.choice(
            [
                "FLUSHALL",
                "SCRIPT FLUSH",
                f"CLIENT PAUSE {paused} ALL",
                f"CLIENT PAUSE {paused} WRITE",
                "CLIENT KILL TYPE normal",
                "CLIENT KILL TYPE pubsub",
            ]
        )
        try:
            await asyncio.to_thread(self._send, command)
        except (RedisError, OSError) as error:
            return f"{command}, in vain: {error}"
        return command

    def _send(self, command: str) -> None:
        with self._redis.client() as client:
            client.execute_command(*command.split())


def _server_fault(server: AsgiServer) -> Fault:
    async def fail(chance: random.Random) -> str:
        end = chance.choice([server.kill, server.stop])
        await asyncio.to_thread(end)
        await asyncio.sleep(chance.uniform(0, 5))
        await asyncio.to_thread(server.start)
        return f"{end.__name__}, and started again"

    return fail


def _writer_fault(writer: WriterProcess) -> Fault:
    async def fail(chance: random.Random) -> str:
        number = chance.choice([signal.SIGKILL, signal.SIGTERM])
        await asyncio.to_thread(writer.end, number)
        await asyncio.to_thread(writer.begin)
        return f"{number.name}, and another one"

    return fail


def _network_fault(spread: Spread, name: str) -> Fault:
    async def fail(chance: random.Random) -> str:
        direction = chance.choice(["both", "out", "in"])
        seconds = chance.uniform(0.2, 12)
        await cut(spread, name, direction, seconds)
        return f"was cut off for {seconds:.1f} s, {direction}"

    return fail
