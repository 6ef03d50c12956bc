"""Hosts that are cut off from each other, and hosts that disappear."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

from benchmarks.faults.hosts import LOCAL, Host, Network, why_not
from benchmarks.faults.site import Load, Site
from tests.support.servers import Valkey

__all__ = ["Spread", "run"]

#: Seconds of an outage, and for the pages to find back before the next one.
OUTAGES, REST = (1, 6, 30), 8


class Spread:
    """Redis, and the hosts of a site, each with an address of its own if possible."""

    def __init__(self, directory: Path, server: type[Valkey], stack: ExitStack) -> None:
        self.network = None if why_not() else stack.enter_context(Network())
        self.hosts: dict[str, Host] = {}
        self.redis = server(directory)
        self.place("redis").place(self.redis)
        self.redis.command += ["--protected-mode", "no"]
        self.redis.start()
        stack.callback(self.redis.kill)

    def place(self, name: str) -> Host:
        """Return the host of this name."""
        if name not in self.hosts:
            self.hosts[name] = self.network.add(name) if self.network else LOCAL
        return self.hosts[name]


async def run(
    directory: Path, server: type[Valkey], layer: str, seed: str, seconds: float
) -> Site:
    """Cut off Redis, a server and a writer, for 1, 6 and 30 s, in each direction."""
    if reason := why_not():
        raise SystemExit(f"The network cannot fail here: {reason}.")
    with ExitStack() as stack:
        spread = Spread(directory, server, stack)
        host = {"address": spread.redis.url, "socket_timeout": None}
        options = {"layer": layer, "load": Load(), "places": spread.place}
        async with Site(directory, host, **options) as site:
            for outage in OUTAGES:
                for name in ("redis", "server1", "writer1"):
                    for direction in ("both", "out", "in"):
                        site.say(f"{name} cut off for {outage} s, {direction}")
                        await cut(spread, name, direction, outage)
                        await asyncio.sleep(REST)
            await vanish(spread, site)
            await site.finish()
        return site


async def cut(spread: Spread, name: str, direction: str, seconds: float) -> None:
    """Drop the packets of a host for some time."""
    network, host = spread.network, spread.hosts[name]
    assert network is not None
    await asyncio.to_thread(network.cut, host, direction)
    try:
        await asyncio.sleep(seconds)
    finally:
        await asyncio.to_thread(network.join, host, direction)


async def vanish(spread: Spread, site: Site) -> None:
    """End processes while nobody can hear of it: their connections stay half open."""
    victims = {"redis": spread.redis, "server0": site.servers[0]}
    for name, victim in victims.items():
        site.say(f"the host of {name} disappears for 10 s, without a FIN")
        cutting = asyncio.ensure_future(cut(spread, name, "both", 10))
        await asyncio.sleep(1)
        await asyncio.to_thread(victim.kill)
        await cutting
        await asyncio.to_thread(victim.start)
        await asyncio.sleep(REST)
