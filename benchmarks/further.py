"""Further measurements: two processes, many reconnects, and the cost for callers."""

from __future__ import annotations

import json
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.fanout import publisher, saver
from benchmarks.load import Load
from benchmarks.processes import Server
from benchmarks.sockets import Crowd, Handshake
from benchmarks.systems import (
    Running,
    Skipped,
    django_site,
    page_of,
    run_in_site,
    start_nchan,
    start_site,
)

__all__ = ["commit_to_last", "hand_over", "publish_cost", "storm"]

CLIENTS = 1_000
RETURNING = 2_000
MISSED = 20
SAMPLES = 100
POSITION = re.compile(rb'"position":"([^"]+)"')


@dataclass(slots=True)
class Site:
    """Processes of our site with the same database and Redis."""

    servers: list[Running]
    python: Path
    env: dict[str, str]

    def run(self, *arguments: str) -> dict[str, float]:
        """Run the script that measures callers of broadcasts, in its own process."""
        text = run_in_site("hand_over.py", self.python, self.env, *arguments)
        found: dict[str, float] = json.loads(text)
        return found


@contextmanager
def _site(redis: str, *, processes: int) -> Iterator[Site]:
    with ExitStack() as stack:
        name = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
        python, env = django_site("ours", "pubsub", Path(name), redis)
        page = page_of(python, env)
        servers = []
        for _ in range(processes):
            running = start_site("ours", Path(name), python, env, page)
            stack.callback(running.server.stop)
            servers.append(running)
        yield Site(servers, python, env)


def hand_over(redis: str) -> list[str]:
    """Report what a broadcast costs its caller, and how a stream slows loading rows."""
    lines, callers = [], {}
    for site, name in (("ours", "turbo"), ("turbo_django", "turbo-django")):
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            python, env = django_site(site, "redis", Path(directory), redis)
            run_in_site("prepare.py", python, env)
            found = json.loads(run_in_site("hand_over.py", python, env, "rows"))
        callers[site] = found["caller"]
        lines.append(
            f"{name}: a broadcast costs its caller {found['caller']:,.0f} µs on Redis; "
            "loading rows of a model with a stream takes "
            f"{found['rows']:.2f} times as long"
        )
    ratio = callers["turbo_django"] / callers["ours"]
    return [*lines, f"with turbo-django, the caller waits {ratio:,.0f} times as long"]


def publish_cost(redis: str) -> list[str]:
    """Report what a broadcast costs with 1 and 1,000 subscribers elsewhere."""
    costs = {}
    with _site(redis, processes=1) as site:
        [running] = site.servers
        with Crowd(running.port, running.handshake) as crowd:
            for count in (1, CLIENTS):
                crowd.connect(count - len(crowd))
                costs[count] = site.run()
    one, many = costs[1], costs[CLIENTS]
    return [
        "a broadcast to 1 and to 1,000 subscribers in another process: the caller "
        f"waits {one['caller']:.0f} and {many['caller']:.0f} µs, and its process uses "
        f"{one['cpu']:.0f} and {many['cpu']:.0f} µs of CPU"
    ]


def commit_to_last(redis: str, directory: Path) -> list[str]:
    """Report when a commit reaches the last of 1,000 sockets on two processes."""
    with _site(redis, processes=2) as site:
        ours = _last(site.servers)
    try:
        nchan = start_nchan(directory, redis)
    except Skipped as reason:
        return [f"commit to last of 1,000 sockets: {_ms(ours)}; nchan: {reason}"]
    try:
        theirs = _last([nchan])
    finally:
        nchan.server.stop()
    return [
        f"commit to the last of 1,000 sockets, two processes and Redis: {_ms(ours)}; "
        f"nchan, one process: {_ms(theirs)}; "
        f"{_p99(ours) / _p99(theirs):.2f} times the p99"
    ]


def storm(redis: str) -> list[str]:
    """Report how long 2,000 pages take to reconnect at once and catch up."""
    with _site(redis, processes=1) as site:
        [running] = site.servers
        server: Server = running.server
        heard: list[bytes] = []
        with Crowd(running.port, running.handshake, on_data=heard.append) as crowd:
            crowd.connect(RETURNING)
        position = POSITION.findall(b"".join(heard))[-1].decode()
        with Load(running.handshake) as load:
            load.publish_by(publisher(running, MISSED))
            load.publish()
        time.sleep(3)  # the server notices closed connections, and keeps messages
        before, started = server.cost(), time.monotonic()
        with Crowd(running.port, _since(running.handshake, position)) as crowd:
            crowd.connect(RETURNING)
            crowd.pump_until(
                lambda: crowd.received >= RETURNING * MISSED and crowd.fewest() > 0,
                timeout=30,
            )
            took = time.monotonic() - started
            used = server.cost().cpu - before.cpu
            lost = RETURNING * MISSED - crowd.received
    return [
        f"{RETURNING:,} pages reconnect at once, and each has missed {MISSED} "
        f"messages: all are up to date after {took:.1f} s, with "
        f"{1e3 * used / RETURNING:.2f} ms of the server's CPU each; "
        f"{lost} messages lost"
    ]


def _since(handshake: Handshake, position: str) -> Handshake:
    [(frame, confirmation)] = handshake.frames
    asked = json.loads(frame)
    asked["streams"][0]["since"] = position
    return replace(handshake, frames=((json.dumps(asked), confirmation),))


def _last(servers: list[Running]) -> list[float]:
    """Return the delay at the last socket, for each of some commits."""
    with Load(servers[0].handshake) as load:
        for running in servers:
            load.connect(CLIENTS // len(servers), running.port)
        load.publish_by(saver(servers[0]))
        load.reach_all()
        return load.delays_of_last(SAMPLES)


def _p99(delays: list[float]) -> float:
    return statistics.quantiles(delays, n=100)[98]


def _ms(delays: list[float]) -> str:
    return f"p50 {1e3 * statistics.median(delays):.0f}, p99 {1e3 * _p99(delays):.0f} ms"
