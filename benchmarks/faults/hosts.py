"""
Hosts of their own for processes: network namespaces that are joined by a bridge.

What a host sends, or what is sent to it, can be dropped without a word, as by a broken
switch: neither side gets an error. This needs Linux, root and ``ip`` and ``tc``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

from tests.support.servers import Process

__all__ = ["LOCAL", "Direction", "Host", "Network", "why_not"]

Direction = Literal["out", "in", "both"]


@dataclass(frozen=True, slots=True)
class Host:
    """Where processes run."""

    name: str
    address: str
    prefix: tuple[str, ...] = ()

    def place(self, process: Process) -> None:
        """Let the process run here when it starts."""
        own = [self.address if a == "127.0.0.1" else a for a in process.command]
        process.command = [*self.prefix, *own]
        process.address = self.address


#: This machine, which cannot be cut off.
LOCAL = Host("here", "127.0.0.1")


def why_not() -> str:
    """Return why no hosts can be made, or nothing."""
    if missing := [name for name in ("ip", "tc") if not shutil.which(name)]:
        return f"no {missing[0]} on this machine"
    return "" if os.geteuid() == 0 else "only root can make network namespaces"


class Network:
    """A bridge with hosts: ``with Network() as network``."""

    def __init__(self) -> None:
        self._id = os.getpid() % 100_000
        self._subnet = f"10.{64 + self._id % 128}.{self._id // 128 % 256}"
        self._bridge = f"tf{self._id}"
        self._hosts: list[Host] = []

    def __enter__(self) -> Network:
        _run("ip", "link", "add", self._bridge, "type", "bridge")
        _run("ip", "addr", "add", f"{self._subnet}.1/24", "dev", self._bridge)
        _run("ip", "link", "set", self._bridge, "up")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for host in self._hosts:
            _run("ip", "netns", "del", self._space(host))
        _run("ip", "link", "del", self._bridge)

    def add(self, name: str) -> Host:
        """Make a host."""
        number = len(self._hosts) + 2
        space, port = f"{self._bridge}-{name}", f"{self._bridge}v{number}"
        address = f"{self._subnet}.{number}"
        host = Host(name, address, ("ip", "netns", "exec", space))
        _run("ip", "netns", "add", space)
        self._hosts.append(host)
        peer = ("peer", "name", "net", "netns", space)
        _run("ip", "link", "add", port, "type", "veth", *peer)
        _run("ip", "link", "set", port, "master", self._bridge, "up")
        _run("ip", "-n", space, "addr", "add", f"{address}/24", "dev", "net")
        _run("ip", "-n", space, "link", "set", "net", "up")
        _run("ip", "-n", space, "link", "set", "lo", "up")
        return host

    def cut(self, host: Host, direction: Direction) -> None:
        """Drop what the host sends, or what is sent to it, or both."""
        for command in self._ends(host, direction):
            _run(*command, "qdisc", "add", *self._device(command, host), "blackhole")

    def join(self, host: Host, direction: Direction) -> None:
        """End what ``cut`` has begun."""
        for command in self._ends(host, direction):
            _run(*command, "qdisc", "del", *self._device(command, host))

    def _ends(self, host: Host, direction: Direction) -> list[tuple[str, ...]]:
        inside, outside = ("tc", "-n", self._space(host)), ("tc",)
        return {"out": [inside], "in": [outside], "both": [inside, outside]}[direction]

    def _device(self, command: tuple[str, ...], host: Host) -> tuple[str, ...]:
        port = f"{self._bridge}v{self._hosts.index(host) + 2}"
        return "dev", "net" if len(command) > 1 else port, "root"

    def _space(self, host: Host) -> str:
        return f"{self._bridge}-{host.name}"


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
