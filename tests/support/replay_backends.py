"""The backends for the contract tests of the replay log, and their servers."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any, Protocol

from tests.support.servers import Valkey, free_port, wait_until
from turbo.replay import Append, History, ReplayLog
from turbo.replay.redis import RedisReplay


class RedisServer(Valkey):
    """A server of the program ``redis-server``, if this machine has it."""

    program = shutil.which("redis-server")

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.command[0] = str(self.program)


class ClusterNode(Valkey):
    """A cluster of one node, which refuses scripts with keys in two slots."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.command += ["--cluster-enabled", "yes"]
        self.command += ["--cluster-port", str(free_port())]

    def start(self) -> None:
        super().start()
        with self.client() as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: "cluster_state:ok" in self._state(), what="cluster is up")

    @property
    def host(self) -> dict[str, Any]:
        """What goes into ``REPLAY_HOSTS``."""
        return {"cluster": [("127.0.0.1", self.port)]}

    def _state(self) -> str:
        with self.client() as client:
            return repr(client.execute_command("CLUSTER", "INFO"))


class MakeLog(Protocol):
    """Make a log of the backend under test."""

    def __call__(self, **options: Any) -> ReplayLog: ...


def redis_log(*servers: Valkey, **options: Any) -> RedisReplay:
    """Return a log on these servers."""
    return RedisReplay(hosts=[server.url for server in servers], **options)


async def send(log: ReplayLog, stream: str, *data: str | None) -> None:
    """Append each message with its own call."""
    for item in data:
        await log.append([Append(stream, item)])


async def read_one(log: ReplayLog, stream: str, since: str) -> History:
    [history] = await log.read([(stream, since)])
    return history


async def position(log: ReplayLog, stream: str) -> str:
    """Return the current position of the stream."""
    history = await read_one(log, stream, "")
    return f"{history.epoch}:{history.tip}"


async def moment_after(log: ReplayLog, stream: str) -> str:
    """
    Return a moment that is later than all messages of the stream.

    A moment lies a little in the past, so the first one may be too early.
    """
    while True:
        history = await read_one(log, stream, moment := log.moment())
        if history.complete and not history.entries:
            return moment
        await asyncio.sleep(0.005)


async def until_lost(log: ReplayLog, stream: str, since: str) -> History:
    """Return the history as soon as it is incomplete."""
    while True:
        history = await read_one(log, stream, since)
        if not history.complete:
            return history
        await asyncio.sleep(0.01)


def texts(history: History) -> list[str | None]:
    """Return the data of a complete history."""
    assert history.complete
    return [entry.data for entry in history.entries]
