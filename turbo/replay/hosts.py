"""
The Redis hosts of a replay log and their clocks.

The checksum of a stream's id selects the host that keeps the stream. A cluster counts
as several hosts, each of which is one slot of the cluster, wherever that slot is.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from turbo.replay.clock import Reading
from turbo.replay.clocks import Clocks
from turbo.replay.lua import SERVER
from turbo.replay.words import Words
from turbo.runtime.redis.aclients import Clients, ScriptCall
from turbo.runtime.redis.cluster import PARTS, cluster_nodes

__all__ = ["Hosts"]


class Part(NamedTuple):
    """What has one clock: a host, or a slot of a cluster."""

    #: The index of the client.
    client: int
    #: The hash tag of all keys; none for a host.
    tag: str


def _parts(client: int, host: Mapping[str, Any]) -> list[Part]:
    if not cluster_nodes(host):
        return [Part(client, "")]
    return [Part(client, str(number)) for number in range(PARTS)]


class Hosts(Clocks):
    """All hosts of one log, and the latest reading of each clock."""

    def __init__(
        self,
        hosts: Sequence[Mapping[str, Any]],
        *,
        prefix: str,
        monotonic: Callable[[], int],
    ) -> None:
        self._clients = Clients(hosts)
        self._prefix = prefix
        self._parts = [part for n, host in enumerate(hosts) for part in _parts(n, host)]
        super().__init__(len(self._parts), monotonic=monotonic)
        self._words = Words()

    def index(self, key: str) -> int:
        """Return the index of the host that keeps ``key``."""
        return zlib.crc32(key.encode()) % self._count

    def name(self, key: str) -> str:
        """Return the beginning of the names of what is kept for ``key``."""
        tag = self._parts[self.index(key)].tag
        return f"{self._prefix}:{{{tag}}}:{key}" if tag else f"{self._prefix}:{{{key}}}"

    @property
    def all(self) -> range:
        """Return the indexes of all hosts."""
        return range(self._count)

    def part_key(self, host: int, kind: str) -> str:
        """Return the name of what is kept once for all keys of a host."""
        tag = self._parts[host].tag
        return f"{self._prefix}:{{{tag}}}:{kind}" if tag else f"{self._prefix}:{kind}"

    def word_key(self, key: str) -> str | None:
        """Return the name of the word in the slot of ``key``; a host has no slots."""
        host = self.index(key)
        return self._word_key(host) if self._parts[host].tag else None

    async def know(self, hosts: Iterable[int]) -> None:
        """Read the clocks of ``hosts`` that are not known, which is rarely needed."""
        floors = self.floors()
        if missing := [host for host in hosts if not floors[host]]:
            await self.ask_and_read([], hosts=missing)

    async def ask(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """Return the replies to calls, with one round trip to each host."""
        clients = await self._clients.get()

        async def run(host: int, calls: list[ScriptCall]) -> list[Any]:
            return await clients[self._parts[host].client].run(calls)

        return await _spread(calls, run)

    async def ask_and_read(
        self,
        calls: Sequence[ScriptCall],
        *,
        hosts: Iterable[int] = (),
        renew: bool = False,
    ) -> tuple[list[Any], dict[int, Reading]]:
        """
        Return the replies to calls, and a reading of each host taken after them.

        ``hosts`` are read in addition to the hosts of the calls.
        """
        clients = await self._clients.get()
        readings: dict[int, Reading] = {}

        async def run(host: int, calls: list[ScriptCall]) -> list[Any]:
            word = (self._words.new(), 1 if renew else 0)
            calls.append(ScriptCall(host, SERVER, (self._word_key(host),), word))
            sent = self._monotonic()
            *replies, server = await clients[self._parts[host].client].run(calls)
            reading = Reading.take(*server, sent=sent, received=self._monotonic())
            readings[host] = self.note(host, reading)
            return replies

        return await _spread(calls, run, hosts=hosts), readings

    async def sync(self) -> None:
        """
        Read every host's clock.

        A host whose clock was set back gets a new identity: nothing can be proved about
        earlier moments, which lie in its future.
        """
        _, readings = await self.ask_and_read([], hosts=self.all)
        moved = [host for host, reading in readings.items() if not reading.identity]
        if moved:
            await self.ask_and_read([], hosts=moved, renew=True)

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._clients.aclose()

    def _word_key(self, host: int) -> str:
        return self.part_key(host, "server")


async def _spread(
    calls: Sequence[ScriptCall],
    run: Callable[[int, list[ScriptCall]], Awaitable[list[Any]]],
    *,
    hosts: Iterable[int] = (),
) -> list[Any]:
    """Run each host's share of the calls; return the replies in the calls' order."""
    shares: dict[int, list[int]] = {host: [] for host in hosts}
    for place, call in enumerate(calls):
        shares.setdefault(call.host, []).append(place)
    outcomes = await asyncio.gather(
        *(run(host, [calls[n] for n in share]) for host, share in shares.items()),
        return_exceptions=True,
    )
    replies: list[Any] = [None] * len(calls)
    for share, outcome in zip(shares.values(), outcomes, strict=True):
        if isinstance(outcome, BaseException):
            raise outcome
        for place, reply in zip(share, outcome, strict=True):
            replies[place] = reply
    return replies
