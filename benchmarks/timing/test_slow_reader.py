"""Measure how a client that does not read delays messages to others."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from benchmarks.sockets import Crowd, Handshake
from benchmarks.timing.readers import Readers, handshake
from tests.support.servers import WebServer, wait_until
from tests.testapp.streams import Announcements, Counter
from turbo.delivery.broadcast import shut_down

READERS = 500
MESSAGES = 30
PACE = 0.03
#: A message that the slow client does not read.
BULK = "x" * 60_000
CLOSED = "does not read is closed"
#: The number of pairs of phases, because other load may disturb some.
ROUNDS = 5


@pytest.fixture(params=["daphne", "uvicorn", "fast path"])
def server(
    request: pytest.FixtureRequest, valkey: Any, make_project: Callable[..., Any]
) -> Iterator[WebServer]:
    """Start a server of each kind, which gets the broadcasts of this process."""
    project = make_project("redis")
    with override_settings(CHANNEL_LAYERS=project.settings["CHANNEL_LAYERS"]):
        if request.param == "daphne":
            yield request.getfixturevalue("daphne")(project)
        else:
            options = ["--ws", "turbo.server:WebSocketProtocol"]
            options = options if request.param == "fast path" else []
            yield request.getfixturevalue("uvicorn")(project, *options)
        shut_down(5)


def broadcast() -> None:
    """
    Send messages that all clients read, at a steady pace.

    In between, send large messages to the slow client, if there is one. They fill its
    queue, so that its connection is closed meanwhile.
    """
    for number in range(MESSAGES):
        Announcements().append(text=f"@{time.monotonic():.6f}@", id="list")
        if number % 2:
            Counter(1).append(text=BULK, id="list")
        time.sleep(PACE)


def fill(server: WebServer, page: Handshake) -> int:
    """Return how many large messages close a client that does not read."""
    count, known = 0, server.log().count(CLOSED)
    with Crowd(server.port, page) as slow:
        slow.connect(1)
        while server.log().count(CLOSED) == known:
            Counter(1).append(text=BULK, id="list")
            count += 1
            time.sleep(0.02)
    return count


def resident(server: WebServer) -> int:
    """Return the bytes of memory that the server holds."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1_024


def p99(delays: list[float]) -> float:
    return statistics.quantiles(delays, n=100)[98]


def test_one_that_never_reads_harms_only_itself(server: WebServer) -> None:
    """Compare the delays of the others, and check the memory of the server."""
    both = [stream.signed_stream_name for stream in (Announcements(), Counter(1))]
    page = handshake(*both)
    starts: list[float] = []
    with Readers(server.port, READERS, both[0]) as readers:
        enough = fill(server, page)
        broadcast()  # so that both sides have loaded everything that they load once
        for _ in range(ROUNDS):
            starts.append(time.monotonic())
            broadcast()
            before, closed = resident(server), server.log().count(CLOSED)
            with Crowd(server.port, page) as slow:
                slow.connect(1)
                for _ in range(enough - MESSAGES // 4):
                    Counter(1).append(text=BULK, id="list")
                    time.sleep(0.005)
                starts.append(time.monotonic())
                broadcast()
                grown = resident(server) - before
                wait_until(lambda known=closed: server.log().count(CLOSED) > known)
            assert grown < 8 * 2**20
        measured = readers.stop()

    assert [len(delays) for _, delays in measured] == [READERS] * len(measured)
    ratios = [
        p99(with_slow) / p99(without) for without, with_slow in pairs(measured, starts)
    ]
    print(f"p99 with and without: {ratios}")
    assert statistics.median(ratios) < 1.5, ratios


def pairs(
    measured: list[tuple[float, list[float]]], starts: list[float]
) -> Iterator[tuple[list[float], list[float]]]:
    """Yield the delays of each phase without the slow client, and of that with it."""
    phases = [
        [d for moment, delays in measured if start <= moment < end for d in delays]
        for start, end in pairwise([*starts, time.monotonic()])
    ]
    return zip(phases[::2], phases[1::2], strict=True)
