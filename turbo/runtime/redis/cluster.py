"""
Connections to a Redis cluster, whose nodes share the keys by slots.

While a slot moves from one node to another, some of its keys are here and some there. A
call that meets this fails, and succeeds when the slot has moved. So what is asked
together is always answered by one node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from redis.crc import key_slot
from redis.exceptions import ClusterDownError, MovedError

from turbo.runtime.redis.script import UNREACHABLE

__all__ = ["PARTS", "ClusterClient", "cluster_nodes"]

#: How many slots a cluster gets. A part of the data has one slot, so it moves as a
#: whole, and has one clock.
PARTS = 8

#: The most nodes that a call is sent to one after the other.
ATTEMPTS = 4

#: The host and the port of a node.
Address: TypeAlias = tuple[str, int]


class SlotCall(Protocol):
    """A run of a script, of which only the keys are of interest here."""

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys, which are all in one slot."""


class NodeClient(Protocol):
    """One loop's connections to one node."""

    async def run(self, calls: Sequence[Any]) -> list[Any]:
        """Run scripts."""

    async def execute(self, *command: str) -> Any:
        """Return the reply to one command."""

    async def aclose(self) -> None:
        """Close the connections."""


def cluster_nodes(host: Mapping[str, Any]) -> list[Address]:
    """Return the nodes in the options of a host; it has none if it is no cluster."""
    return [(name, int(port)) for name, port in host.get("cluster", ())]


class ClusterClient:
    """One loop's connections to a cluster; ``nodes`` are some of its nodes."""

    def __init__(
        self, nodes: Iterable[Address], connect: Callable[[Address], NodeClient]
    ) -> None:
        self._connect = connect
        # The order is that in which they are asked who has a slot.
        self._nodes: dict[Address, NodeClient | None] = dict.fromkeys(nodes)
        self._owners: dict[int, Address] = {}

    async def run(self, calls: Sequence[SlotCall]) -> list[Any]:
        """Run scripts on the node that has their slot; all keys are in one slot."""
        slot = key_slot(calls[0].keys[0].encode())
        problem: Exception
        for _ in range(ATTEMPTS):
            owner = self._owners.get(slot) or await self._find_owner(slot)
            try:
                return await self._node(owner).run(calls)
            except MovedError as error:
                problem = error
                self._owners[slot] = error.host or owner[0], error.port
            except (ClusterDownError, *UNREACHABLE):
                # A replica may have become the master of the slot.
                self._owners.pop(slot, None)
                raise
        raise problem

    async def _find_owner(self, slot: int) -> Address:
        """Ask the nodes, one after the other, which of them has the slot."""
        problem: Exception = ClusterDownError("no node of the cluster is known")
        for asked in list(self._nodes):
            try:
                ranges = await self._node(asked).execute("CLUSTER", "SLOTS")
            except UNREACHABLE as error:
                problem = error
                self._nodes[asked] = self._nodes.pop(asked)  # is asked last now
                continue
            for first, last, master, *replicas in ranges:
                for name, port, *_ in (master, *replicas):
                    self._nodes.setdefault((name or asked[0], port), None)
                if first <= slot <= last:
                    self._owners[slot] = owner = master[0] or asked[0], master[1]
                    return owner
            problem = ClusterDownError(f"no node has slot {slot}")
        raise problem

    def _node(self, address: Address) -> NodeClient:
        client = self._nodes.get(address)
        if client is None:
            client = self._nodes[address] = self._connect(address)
        return client

    async def aclose(self) -> None:
        """Close the connections to all nodes."""
        for client in self._nodes.values():
            if client is not None:
                await client.aclose()
