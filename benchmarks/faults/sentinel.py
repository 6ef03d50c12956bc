"""Failover and failback with Sentinel, while writers write and pages read."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError

from benchmarks.faults.site import Load, Site
from tests.replay.test_sentinel import Sentinel
from tests.support.servers import Valkey, wait_until

__all__ = ["run"]


async def run(
    directory: Path, server: type[Valkey], layer: str, seed: str, seconds: float
) -> Site:
    """Change the master three times: frozen, killed, and asked to."""
    with ExitStack() as stack:
        watched = await asyncio.to_thread(Watched, directory, server, stack)
        async with Site(directory, watched.host, layer=layer, load=Load()) as site:
            await asyncio.sleep(seconds / 4)
            for name in ("freeze", "kill", "ask"):
                site.say(f"{name} the master, {watched.master.port}")
                await asyncio.to_thread(getattr(watched, name))
                site.say(f"the master is {watched.master.port}; both are in step")
                await asyncio.sleep(seconds / 4)
            await site.finish()
        return site


class Watched:
    """A master and a replica that a sentinel watches."""

    def __init__(self, directory: Path, server: type[Valkey], stack: ExitStack) -> None:
        self.servers = []
        for name in ("one", "two"):
            (directory / name).mkdir()
            node = server(directory / name)
            node.command += ["--repl-diskless-sync-delay", "0"]
            node.start()
            stack.callback(node.kill)
            self.servers.append(node)
        (directory / "sentinel").mkdir()
        self.sentinel = Sentinel(directory / "sentinel", self.servers[0])
        self.sentinel.command[0] = self.servers[0].command[0]
        with self.servers[1].client() as client:
            client.replicaof("127.0.0.1", self.servers[0].port)
        self.sentinel.start()
        stack.callback(self.sentinel.kill)
        sentinels = [["127.0.0.1", self.sentinel.port]]
        self.host: dict[str, Any] = {"sentinels": sentinels, "master_name": "rooms"}
        self.host |= {"socket_timeout": None}
        self._until_in_step()

    @property
    def master(self) -> Valkey:
        """Return the server that the sentinel says is the master."""
        port = int(self.sentinel.master()["port"])
        return next(server for server in self.servers if server.port == port)

    def freeze(self) -> None:
        """Freeze the master until there is another one; both then take writes."""
        before = self.master
        before.pause()
        try:
            wait_until(lambda: self.master is not before, what="failover")
        finally:
            before.resume()
        self._until_in_step()

    def kill(self) -> None:
        """Kill the master; it comes back empty."""
        before = self.master
        before.kill()
        wait_until(lambda: self.master is not before, what="failover")
        before.start()
        self._until_in_step()

    def ask(self) -> None:
        """Let the sentinel change the master, as before maintenance."""
        before = self.master
        with self.sentinel.client() as client:
            client.execute_command("SENTINEL", "FAILOVER", "rooms")
        wait_until(lambda: self.master is not before, what="failover")
        self._until_in_step()

    def _until_in_step(self) -> None:
        wait_until(self._in_step, what="the replica has a copy")

    def _in_step(self) -> bool:
        master = self.master
        [replica] = [server for server in self.servers if server is not master]
        try:
            with replica.client() as client:
                known = client.info("replication")
        except (RedisError, OSError):
            return False  # the sentinel ends the connections of a new replica
        follows = known["role"] == "slave" and known["master_port"] == master.port
        up = follows and known["master_link_status"] == "up"
        return up and int(self.sentinel.master()["num-slaves"]) > 0
