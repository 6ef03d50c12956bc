"""
Simulated processes of one site, each with what the library keeps for a process.

The library finds the replay log and the channel layer of a process through its
settings. :class:`ProcessReplay` and :class:`ProcessLayer` are named there, and pass
each call on to the log and the layer of the process whose code runs at the moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from channels_redis.core import RedisChannelLayer

from tests.support.simulation.clock import Clock, SimulatedLoop
from tests.support.simulation.network import Network
from turbo.delivery.publisher import Publisher
from turbo.replay import Append, Appended, History
from turbo.replay.base import RoutingLog
from turbo.replay.redis import RedisReplay

__all__ = ["ADDRESS", "Process", "ProcessLayer", "ProcessReplay"]

ADDRESS = "redis:6379"
_HOST = {"address": f"redis://{ADDRESS}", "protocol": 2}
#: As the documentation says.
_LAYER_HOST = _HOST | {"socket_timeout": None}


class Process:
    """One process: it may write, serve, or both."""

    def __init__(
        self, clock: Clock, network: Network, name: str, *, length: int, capacity: int
    ) -> None:
        self.name = name
        self.clock = clock
        self.network = network
        #: What its tasks raised and nobody looked at.
        self.failures: list[str] = []
        self.is_alive = True
        self.replay = RedisReplay(
            hosts=[_HOST], length=length, monotonic=lambda: round(clock.now * 1e6)
        )
        self.layer = RedisChannelLayer(hosts=[_LAYER_HOST], capacity=capacity)
        #: The loop of the server, and the one of the publisher.
        self.loop = SimulatedLoop(clock, self)
        self._publishing = SimulatedLoop(clock, self)
        self.publisher = Publisher(self._publishing)
        with self._publishing.running():
            self._publishing.create_task(self.publisher.run())

    def unhandled(self, message: str, error: BaseException | None) -> None:
        """Note what the loop has found."""
        self.failures.append(f"{message}: {error!r}")

    def kill(self) -> None:
        """End the process at once; the kernel closes its connections."""
        self.is_alive = False
        self.pause()
        for connection in self.network.of(self.name):
            connection.out.send("FIN")

    def pause(self) -> None:
        """Stop the process, as SIGSTOP does."""
        for loop in (self.loop, self._publishing):
            loop.hold()

    def go_on(self) -> None:
        """Let a paused process go on."""
        if self.is_alive:
            for loop in (self.loop, self._publishing):
                loop.go_on()

    def bury(self) -> None:
        """Cancel all tasks, so that nothing is left for the garbage collector."""
        for loop in (self.loop, self._publishing):
            loop.go_on()
            self._cancel(loop)
            with loop.running():
                loop.create_task(self._disconnect(loop))
            self.clock.run(0.0)
            self._cancel(loop)

    async def _disconnect(self, loop: SimulatedLoop) -> None:
        await self.replay.aclose()
        if (layer := self.layer._layers.pop(loop, None)) is not None:
            await layer.flush()

    def _cancel(self, loop: SimulatedLoop) -> None:
        while loop.tasks:
            for task in list(loop.tasks):
                task.cancel()
            self.clock.run(0.0)

    def end(self) -> None:
        """Take no more calls."""
        for loop in (self.loop, self._publishing):
            loop.end()


def _current() -> Process:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulatedLoop)
    process = loop.process
    assert isinstance(process, Process)
    return process


class ProcessReplay(RoutingLog):
    """The replay log of the process whose code runs."""

    supports_processes = True

    def moment(self) -> str:
        return _current().replay.moment()

    def moment_of_change(self) -> str:
        return _current().replay.moment_of_change()

    async def append(self, appends: Sequence[Append]) -> list[Appended]:
        return await _current().replay.append(appends)

    async def read(
        self, requests: Sequence[tuple[str, str]], *, channel: str = ""
    ) -> list[History]:
        return await _current().replay.read(requests, channel=channel)

    async def tips(
        self, streams: Sequence[str], *, channel: str = ""
    ) -> list[tuple[str, int] | None]:
        return await _current().replay.tips(streams, channel=channel)

    async def hide(self, stream: str, channel: str) -> None:
        await _current().replay.hide(stream, channel)

    async def sync_clock(self) -> None:
        await _current().replay.sync_clock()

    async def claim(self, key: str, *, seconds: float) -> float:
        return await _current().replay.claim(key, seconds=seconds)

    async def forbid(self, keys: Sequence[str], *, seconds: int) -> None:
        await _current().replay.forbid(keys, seconds=seconds)

    async def forbidden(self, keys: Sequence[str]) -> list[int | None]:
        return await _current().replay.forbidden(keys)

    async def aclose(self) -> None:
        await _current().replay.aclose()


class ProcessLayer:
    """The channel layer of the process whose code runs."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_current().layer, name)
