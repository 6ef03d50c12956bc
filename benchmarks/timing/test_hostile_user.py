"""Measure how one hostile user with ten connections affects others."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psutil
import pytest
from django.contrib.auth.models import User
from django.test import override_settings

from tests.support.clients import connect, signed_now
from tests.support.servers import ROOT, WebServer
from tests.testapp.streams import Announcements, Counter, Slow
from turbo.delivery.broadcast import flush, shut_down
from turbo.replay import get_replay

SECONDS = 20
VISITS = 150
#: Seconds that a visit of another user may take, at the 99th percentile.
LATEST = 0.3
#: MiB by which the server may grow.
LARGEST = 60
ANN, EVE = User(pk=1, username="ann"), User(pk=3, username="eve")


@pytest.fixture(params=["daphne", "uvicorn", "fast path"])
def server(
    request: pytest.FixtureRequest, valkey: Any, make_project: Callable[..., Any]
) -> Iterator[WebServer]:
    """Start a server of each kind, which gets the broadcasts of this process."""
    project = make_project("redis")
    options: Any = {"application": "benchmarks.timing.hostile_site:application"}
    with override_settings(CHANNEL_LAYERS=project.settings["CHANNEL_LAYERS"]):
        if request.param == "daphne":
            yield request.getfixturevalue("daphne")(project, **options)
        else:
            flags = ["--ws", "turbo.server:WebSocketProtocol"]
            flags = flags if request.param == "fast path" else []
            yield request.getfixturevalue("uvicorn")(project, *flags, **options)
        shut_down(5)


async def names_for_eve() -> dict[str, list[str]]:
    """Return signed names of slow streams, and an epoch with names of long streams."""
    slow = [await signed_now(Slow(number), EVE) for number in range(1_000)]
    long = [await signed_now(Counter(number), EVE) for number in range(10)]
    for number in range(10):
        for _ in range(100):
            Counter(number).append(html="x" * 10_000, id="list")
    assert await asyncio.to_thread(flush, 60)
    [history] = await get_replay().read([(Counter(0).stream_id, "")])
    return {"slow": slow, "long": [history.epoch, *long]}


async def log_in(server: WebServer, username: str) -> str:
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as http:
        answer = await http.get(f"/login/{username}/")
    return f"sessionid={answer.cookies['sessionid']}"


async def visit(server: WebServer, cookie: str, signed: str) -> float:
    """Return the seconds from opening a socket to being subscribed."""
    origin: Any = server.url
    begun = time.perf_counter()
    async with connect(
        f"{server.ws_url}/ws/", origin=origin, additional_headers={"Cookie": cookie}
    ) as socket:
        asked = {"type": "subscribe", "streams": [{"name": signed}]}
        await socket.send(json.dumps(asked))
        while (answer := json.loads(await socket.recv())) == {"type": "ping"}:
            pass
        took = time.perf_counter() - begun
    assert answer["type"] == "subscribed", (answer, server.log()[-3_000:])
    return took


def memory(server: WebServer) -> float:
    return float(psutil.Process(server.pid).memory_info().rss) / 1024 / 1024


async def test_one_hostile_user(server: WebServer) -> None:
    eve, ann = await log_in(server, "eve"), await log_in(server, "ann")
    signed = await signed_now(Announcements(), ANN)
    names = await names_for_eve()
    calm = [await visit(server, ann, signed) for _ in range(30)]
    before = memory(server)

    attack = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.timing.hostile_user"),
        *(server.ws_url, eve, str(SECONDS)),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    telling = asyncio.ensure_future(attack.communicate(json.dumps(names).encode()))
    await asyncio.sleep(2)
    took, peak = [], before
    for _ in range(VISITS):
        took.append(await visit(server, ann, signed))
        peak = max(peak, memory(server))
        await asyncio.sleep(0.05)
    output, _ = await telling
    after = memory(server)

    p99 = statistics.quantiles(took, n=100)[98]
    print(
        f"\ncalm {statistics.median(calm) * 1_000:.0f} ms; attacked: median "
        f"{statistics.median(took) * 1_000:.0f}, p99 {p99 * 1_000:.0f} ms; memory "
        f"{before:.0f} MiB, at most {peak:.0f}, then {after:.0f}\n{output.decode()}"
    )
    assert p99 < LATEST
    assert peak - before < LARGEST
