"""
Connections to Redis, kept per event loop.

A connection belongs to the loop that opened it. Each loop gets its own clients, which
live inside an asynchronous generator. They are closed when the loop shuts down its
generators, as ``asyncio.run`` does. Until then the generator is kept here: a log may be
dropped before its loops end, and the garbage collector cannot close connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from channels_redis.utils import create_pool
from redis.asyncio import Redis

from turbo.runtime.forks import Lock, after_in_child
from turbo.runtime.redis.cluster import ClusterClient, cluster_nodes
from turbo.runtime.redis.options import connection_options
from turbo.runtime.redis.script import (
    UNREACHABLE,
    Script,
    is_elsewhere,
    results,
    unknown,
    was_dead,
)

__all__ = [
    "Clients",
    "RedisClient",
    "ScriptCall",
]

#: The most connections of one loop to one host; further calls wait for a free one.
CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class ScriptCall:
    """One run of a script on one host; all its keys must be in one slot."""

    host: int
    script: Script
    keys: tuple[str, ...]
    args: tuple[str | int, ...] = ()

    def command(self, *, whole: bool) -> tuple[str | int, ...]:
        """Return the command with the script's digest, or with its ``whole`` text."""
        return self.script.command(self.keys, self.args, whole=whole)


class RedisClient:
    """One loop's connections to one host."""

    def __init__(self, host: Mapping[str, Any]) -> None:
        self._redis: Redis = Redis(connection_pool=create_pool(dict(host)))
        self._free = asyncio.Semaphore(CONNECTIONS)

    async def run(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """
        Run scripts in one round trip, or in two if the host does not know a script.

        They may run twice: they are sent again on a new connection if an idle one had
        ended, or if the host says that another server is to be asked.
        """
        replies = await self._pipeline([call.command(whole=False) for call in calls])
        if places := unknown(replies):
            again = await self._pipeline([calls[n].command(whole=True) for n in places])
            for n, reply in zip(places, again, strict=True):
                replies[n] = reply
        return results(replies)

    async def execute(self, *command: str) -> Any:
        """Return the reply to one command."""
        return results(await self._attempt([command]))[0]

    async def _pipeline(self, commands: Sequence[tuple[str | int, ...]]) -> list[Any]:
        try:
            replies = await self._attempt(commands)
            if not any(map(is_elsewhere, replies)):
                return replies
        except UNREACHABLE as error:
            # Only the use of an idle connection shows that it was closed.
            if not was_dead(error):
                await self._drop_idle()
                raise
        await self._drop_idle()
        return await self._attempt(commands)

    async def _attempt(self, commands: Sequence[tuple[str | int, ...]]) -> list[Any]:
        async with self._free, self._redis.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return await pipeline.execute(raise_on_error=False)

    async def _drop_idle(self) -> None:
        """Close the connections that are not in use; they lead to the same server."""
        with suppress(*UNREACHABLE):
            await self._redis.connection_pool.disconnect(inuse_connections=False)

    async def aclose(self) -> None:
        """Close the connections, including those to sentinels."""
        pool = self._redis.connection_pool
        manager = getattr(pool, "sentinel_manager", None)
        await pool.disconnect()
        for sentinel in manager.sentinels if manager else ():
            await sentinel.connection_pool.disconnect()


#: The connections to one host of the settings, which may be a cluster.
Client: TypeAlias = RedisClient | ClusterClient


class Clients:
    """The clients of every loop that uses a log, one per host."""

    def __init__(self, hosts: Sequence[Mapping[str, Any]]) -> None:
        self._hosts = [connection_options(host) for host in hosts]
        self._lock = Lock()  # owns _leases
        self._leases: WeakKeyDictionary[asyncio.AbstractEventLoop, _Lease] = (
            WeakKeyDictionary()
        )
        after_in_child(self.abandon)

    async def get(self) -> list[Client]:
        """Return the running loop's clients."""
        loop = asyncio.get_running_loop()
        with self._lock:
            lease = self._leases.get(loop)
        if lease is not None:
            return lease[1]
        generator = self._lease(loop)
        clients = await anext(generator)  # does not wait
        with self._lock:
            self._leases[loop] = generator, clients
        _keep(generator, loop)
        return clients

    async def _lease(
        self, loop: asyncio.AbstractEventLoop
    ) -> AsyncGenerator[list[Client], None]:
        clients = [_client(host) for host in self._hosts]
        try:
            yield clients
        finally:
            with self._lock:
                lease = self._leases.pop(loop, None)
            if lease is not None:
                _open.pop(lease[0], None)
            for client in clients:
                await client.aclose()

    async def aclose(self) -> None:
        """Close the running loop's clients."""
        with self._lock:
            lease = self._leases.get(asyncio.get_running_loop())
        if lease is not None:
            await lease[0].aclose()

    def abandon(self) -> None:
        """
        Drop all clients in a forked process without closing them.

        The process shares its parent's sockets and epoll descriptors, and closing them
        properly would disconnect the parent.
        """
        self._leases = WeakKeyDictionary()


def _client(host: Mapping[str, Any]) -> Client:
    options = {name: value for name, value in host.items() if name != "cluster"}

    def connect(node: tuple[str, int]) -> RedisClient:
        return RedisClient({**options, "host": node[0], "port": node[1]})

    nodes = cluster_nodes(host)
    return ClusterClient(nodes, connect) if nodes else RedisClient(options)


_Lease: TypeAlias = tuple[AsyncGenerator[list[Client], None], list[Client]]
#: The generators that hold the clients: until their loop ends, or forever after a fork.
_open: dict[AsyncGenerator[list[Client], None], asyncio.AbstractEventLoop] = {}


def _keep(
    generator: AsyncGenerator[list[Client], None], loop: asyncio.AbstractEventLoop
) -> None:
    for kept, of in list(_open.items()):
        if of.is_closed():  # without shutting down its generators
            _open.pop(kept, None)
    _open[generator] = loop
