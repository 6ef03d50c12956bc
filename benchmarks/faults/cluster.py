"""A Redis cluster whose slots move and whose masters are killed."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from benchmarks.faults.site import Load, Site
from tests.support.cluster import Cluster, slot_of
from tests.support.servers import Valkey, wait_until
from turbo.runtime.redis.cluster import PARTS

__all__ = ["run"]


async def run(
    directory: Path, server: type[Valkey], layer: str, seed: str, seconds: float
) -> Site:
    """
    Move each slot there and back, and kill each master once.

    The channel layer is on a Redis of its own, because channels-redis does not know
    clusters.
    """
    cluster = Cluster(directory, server, masters=3, replicas=True)
    single = server(directory)
    chance = random.Random(seed)
    try:
        await asyncio.to_thread(single.start)
        await asyncio.to_thread(cluster.start)
        host = {"address": single.url, "socket_timeout": None}
        hosts = [cluster.host]
        options = {"layer": layer, "replay_hosts": hosts, "load": Load()}
        async with Site(directory, host, **options) as site:
            pause = seconds / (2 * PARTS + 3)
            for part in [*range(PARTS), *range(PARTS)]:
                slot = slot_of(f"{{{part}}}")
                source = await asyncio.to_thread(cluster.owner, slot)
                others = [n for n in cluster.masters if n is not source]
                target = chance.choice(others)
                await asyncio.to_thread(cluster.move, slot, target)
                site.say(f"slot {slot} moved from {source.port} to {target.port}")
                await asyncio.sleep(pause)
            for master in cluster.masters:
                await asyncio.to_thread(_replace, cluster, master)
                site.say(f"master {master.port} was killed, replaced, started again")
                await asyncio.sleep(pause)
            await site.finish()
        return site
    finally:
        cluster.kill()
        single.kill()


def _replace(cluster: Cluster, master: Valkey) -> None:
    """Kill a master, and start it again when a replica has its slots."""
    slot = next(
        slot
        for slot in (slot_of(f"{{{part}}}") for part in range(PARTS))
        if cluster.owner(slot) is master
    )
    master.kill()
    wait_until(lambda: cluster.owner(slot) is not master, what="a new master")
    master.start()
    wait_until(cluster.is_whole, what="the cluster is whole")
