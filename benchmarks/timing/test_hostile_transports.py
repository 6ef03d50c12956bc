"""Measure what a thousand clients of each hostile kind cost, and what they leave."""

from __future__ import annotations

import re
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from tests.guarantee.test_hostile_transports import APPLICATION, ECHO, FAST, GRACE
from tests.support.hostile import PING, Hostile, Hostiles, frame, standing, until_same
from tests.support.servers import WebServer, wait_until
from tests.testapp.streams import Announcements
from turbo.delivery.broadcast import shut_down

CLIENTS = 1_000
#: Bytes that each client sends without reading; the kernel would accept megabytes.
BULK = 300_000
#: Bytes of memory that may stay in use.
STAYS = 20 * 2**20
#: Seconds after which Daphne has checked its connections for those that ended.
REAPED = 5
#: Seconds in which a server must close all its connections.
ENDS = 30


@pytest.fixture(params=["daphne", "uvicorn", "fast path"])
def server(
    request: pytest.FixtureRequest, valkey: Any, make_project: Callable[..., Any]
) -> Iterator[WebServer]:
    """Start a server of each kind, which reports what it holds."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (8_192, 8_192))
    project = make_project("redis")
    with override_settings(CHANNEL_LAYERS=project.settings["CHANNEL_LAYERS"]):
        if request.param == "daphne":
            yield request.getfixturevalue("daphne")(project, application=APPLICATION)
        else:
            options = FAST if request.param == "fast path" else GRACE
            start = request.getfixturevalue("uvicorn")
            yield start(project, *options, application=APPLICATION)
        shut_down(5)


def resident(server: WebServer) -> int:
    """Return the bytes of memory that the server holds."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1_024


def silent(server: WebServer) -> Hostile:
    """Connect a client that will not read."""
    client = Hostile(server.port)
    client.subscribe(Announcements().signed_stream_name)
    return client


def half(server: WebServer) -> Hostile:
    """Connect a client that sends half a handshake."""
    return Hostile(server.port, whole=False)


KINDS: dict[str, tuple[Callable[[WebServer], Hostile], bytes]] = {
    "never read": (silent, ECHO),
    "ping": (silent, frame(b"p" * 125, PING)),
    "half-sent": (half, b""),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand(server: WebServer, kind: str) -> None:
    """Run two rounds, because growth in each of them would be a leak."""
    make, data = KINDS[kind]
    rounds: list[list[float]] = []
    with Hostiles(100, lambda: make(server)) as some:
        some.flood(data or b"x", each=BULK if data else 0)
    wait_until(lambda: standing(server)["connections"] == 0)
    before = standing(server)
    for _ in range(2):
        standing(server, "trim")
        at_first = resident(server)
        with Hostiles(CLIENTS, lambda: make(server)) as clients:
            clients.flood(data or b"x", each=BULK if data else 0)
            meanwhile = resident(server)
            asked = time.monotonic()
            standing(server)
            delay = time.monotonic() - asked
        left = time.monotonic()
        until_same(server, before)
        gone = time.monotonic() - left
        time.sleep(REAPED)
        freed = resident(server)
        standing(server, "trim")
        stays = resident(server)
        rounds.append([meanwhile, freed, stays, at_first, delay, gone])

    with Hostiles(CLIENTS, lambda: make(server)) as clients:
        clients.flood(data or b"x", each=BULK if data else 0)
        assert server._popen is not None
        told = time.monotonic()
        server._popen.send_signal(signal.SIGTERM)
        wait_until(lambda: not server.running, what="the server has ended")
        ended = time.monotonic() - told

    for *sizes, at_first, delay, gone in rounds:
        meanwhile, freed, stays = ((size - at_first) / 2**20 for size in sizes)
        print(
            f"{kind}: {meanwhile:.0f} MiB while they are there, {freed:.1f} after that "
            f"and {stays:.1f} once the C library has given back what is free; "
            f"another is answered in {delay:.2f} s; all are gone after {gone:.2f} s"
        )
    print(f"{kind}: SIGTERM ends the server in {ended:.1f} s")
    _, _, stays, at_first, *_ = rounds[-1]  # the first round also loads modules
    assert stays - at_first < STAYS
    assert ended < ENDS
