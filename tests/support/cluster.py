"""A Redis cluster of several nodes on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis.crc import key_slot
from redis.exceptions import RedisError

from tests.support.servers import Valkey, free_port, wait_until

__all__ = ["Cluster"]

SLOTS = 16_384


class Cluster:
    """Nodes that share the slots; each master may have a replica."""

    def __init__(
        self,
        directory: Path,
        server: type[Valkey],
        *,
        masters: int,
        replicas: bool = False,
    ) -> None:
        self.masters = [self._node(directory, server) for _ in range(masters)]
        self.replicas = [
            self._node(directory, server) for _ in range(masters if replicas else 0)
        ]

    @property
    def nodes(self) -> list[Valkey]:
        return [*self.masters, *self.replicas]

    @property
    def host(self) -> dict[str, Any]:
        """What goes into ``REPLAY_HOSTS``."""
        return {"cluster": [["127.0.0.1", node.port] for node in self.nodes]}

    def start(self) -> None:
        """Start the nodes, and let them form a cluster."""
        first, *others = self.nodes
        first.start()
        for node in others:
            node.start()
            ask(node, "MEET", "127.0.0.1", first.port, _bus(first))
        share = SLOTS // len(self.masters) + 1
        for number, node in enumerate(self.masters):
            last = min(SLOTS, (number + 1) * share) - 1
            ask(node, "ADDSLOTSRANGE", number * share, last)
        wait_until(lambda: all(map(self._knows_all, self.nodes)), what="all have met")
        for master, replica in zip(self.masters, self.replicas, strict=False):
            _until_done(lambda r=replica, m=master: ask(r, "REPLICATE", node_id(m)))
        wait_until(self.is_whole, what="the cluster is whole")

    def kill(self) -> None:
        for node in self.nodes:
            node.kill()

    def owner(self, slot: int) -> Valkey:
        """Return the node that has the slot, as most of the nodes say."""
        for asked in self.nodes:
            if asked.running:
                for first, last, (_, port, *_), *_ in ask(asked, "SLOTS"):
                    if first <= slot <= last:
                        return next(n for n in self.nodes if n.port == port)
        raise LookupError(slot)

    def move(self, slot: int, target: Valkey) -> None:
        """Move a slot with all its keys."""
        source = self.owner(slot)
        ask(target, "SETSLOT", slot, "IMPORTING", node_id(source))
        ask(source, "SETSLOT", slot, "MIGRATING", node_id(target))
        with source.client() as client:
            while keys := ask(source, "GETKEYSINSLOT", slot, 100):
                where = ("127.0.0.1", target.port, "", 0, 60_000)
                client.execute_command("MIGRATE", *where, "KEYS", *keys)
        for node in (target, source):
            ask(node, "SETSLOT", slot, "NODE", node_id(target))
        wait_until(
            lambda: all(
                self._owner_known_to(node, slot) == target.port
                for node in self.nodes
                if node.running
            ),
            what="all know the new owner",
        )

    def is_whole(self) -> bool:
        """Return whether all slots are served, and all replicas have a copy."""
        try:
            return all(map(self._is_well, self.nodes))
        except (RedisError, OSError):
            return False

    def _is_well(self, node: Valkey) -> bool:
        with node.client() as client:
            state = client.info("replication")
            up = state["role"] == "master" or state["master_link_status"] == "up"
            return up and "cluster_state:ok" in str(ask(node, "INFO"))

    def _knows_all(self, node: Valkey) -> bool:
        lines = str(ask(node, "NODES")).splitlines()
        return len(lines) == len(self.nodes) and "handshake" not in str(lines)

    def _owner_known_to(self, node: Valkey, slot: int) -> int | None:
        for first, last, (_, port, *_), *_ in ask(node, "SLOTS"):
            if first <= slot <= last:
                return int(port)
        return None

    def _node(self, directory: Path, server: type[Valkey]) -> Valkey:
        port = free_port()
        place = directory / f"node-{port}"
        place.mkdir()
        node = server(place)
        node.command += ["--cluster-enabled", "yes"]
        node.command += ["--cluster-port", str(free_port())]
        node.command += ["--cluster-node-timeout", "2000"]
        node.command += ["--repl-diskless-sync-delay", "0"]
        return node


def slot_of(key: str) -> int:
    return int(key_slot(key.encode()))


def ask(node: Valkey, *command: Any) -> Any:
    """Return the reply of a node to a command of CLUSTER."""
    with node.client() as client:
        return client.execute_command("CLUSTER", *command)


def node_id(node: Valkey) -> str:
    return str(ask(node, "MYID"))


def _bus(node: Valkey) -> str:
    return node.command[node.command.index("--cluster-port") + 1]


def _until_done(attempt: Callable[[], Any]) -> None:
    """Repeat what the nodes refuse until they know each other well enough."""

    def succeeds() -> bool:
        try:
            attempt()
        except RedisError:
            return False
        return True

    wait_until(succeeds, what="the nodes know each other")
