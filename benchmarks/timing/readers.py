"""
Many pages in their own process: ``python -m benchmarks.timing.readers``.

The process prints ``ready`` when all pages are subscribed, and reads until it gets a
line of input. Then it prints the delay of each message, as a JSON list of
``[moment, delays]``. The text of a message says when it was sent: ``@12.345@``.
"""

from __future__ import annotations

import json
import re
import select
import subprocess
import sys
import time
from typing import Any

from benchmarks.sockets import Crowd, Handshake

SENT = re.compile(rb"@([\d.]+)@")


def handshake(*signed: str, since: str = "") -> Handshake:
    """Return how a page subscribes."""
    streams = [{"name": name, "since": since} for name in signed]
    frame = json.dumps({"type": "subscribe", "streams": streams})
    return Handshake(path="/ws/", frames=((frame, '"subscribed"'),))


class Readers:
    """The process of pages, controlled by a test."""

    def __init__(self, port: int, count: int, *signed: str) -> None:
        command = [sys.executable, "-m", "benchmarks.timing.readers"]
        self._process = subprocess.Popen(
            [*command, str(port), str(count), *signed],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self._process.kill()
        self._process.communicate()

    def stop(self) -> list[tuple[float, list[float]]]:
        """Return the time of each message and its delays."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        assert self._process.stdout is not None
        output = self._process.stdout.readline()
        return [(moment, delays) for moment, delays in json.loads(output)]


def main(port: str, count: str, *signed: str) -> None:
    delays: dict[float, list[float]] = {}

    def note(data: bytes) -> None:
        now = time.monotonic()
        for sent in SENT.findall(data):
            delays.setdefault(float(sent), []).append(now - float(sent))

    crowd = Crowd(int(port), handshake(*signed), on_data=note)
    crowd.connect(int(count))
    print("ready", flush=True)
    stdin: Any = sys.stdin
    while not select.select([stdin], [], [], 0)[0]:
        crowd.pump(0.05)
    crowd.pump_until(lambda: False, timeout=2)  # messages that are still on their way
    print(json.dumps(sorted(delays.items())))


if __name__ == "__main__":
    main(*sys.argv[1:])
