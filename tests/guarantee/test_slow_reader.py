"""A client that does not read is closed; those that do notice nothing of it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from django.test import override_settings

import turbo
from benchmarks.sockets import Crowd
from benchmarks.timing.readers import handshake
from tests.connections.test_sse import events
from tests.support.clients import LivePage
from tests.support.full import for_full_runs
from tests.support.lines import slow_line
from tests.support.servers import PATIENCE, WebServer
from tests.testapp.streams import Announcements, Counter
from turbo.delivery.broadcast import moment, shut_down
from turbo.delivery.names import stream_id

pytestmark = pytest.mark.slow

READERS = 200
#: What all read; long enough to be counted as a message.
SMALL = "small" * 50
#: What the slow client does not read, in pieces: at most so many.
BULK = "x" * 200_000
PIECES = 90
CLOSED = "does not read is closed"
NUMBER = re.compile(rb'"position":"\w+:(\d+)","data"')


@pytest.fixture(
    params=["daphne", "fast path", pytest.param("uvicorn", marks=for_full_runs)]
)
def server(
    request: pytest.FixtureRequest, valkey: Any, make_project: Callable[..., Any]
) -> Iterator[WebServer]:
    """A server of each kind, and this process's broadcasts going to it."""
    project = make_project("redis")
    with override_settings(CHANNEL_LAYERS=project.settings["CHANNEL_LAYERS"]):
        if request.param == "daphne":
            yield request.getfixturevalue("daphne")(project)
        else:
            options = ["--ws", "turbo.server:WebSocketProtocol"]
            options = options if request.param == "fast path" else []
            yield request.getfixturevalue("uvicorn")(project, *options)
        shut_down(5)


def resident(server: WebServer) -> int:
    """Return the bytes of memory that the server holds."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1_024


def until_closed(server: WebServer, slow: Crowd, readers: Crowd) -> None:
    """
    Broadcast until the client that does not read is closed.

    The next message goes out when every reader has been told the last one, once.
    """
    known, told = server.log().count(CLOSED), readers.fewest()
    slow.connect(1)
    for number in range(told + 1, told + 1 + PIECES):
        Counter(1).append(text=BULK, id="list")
        Announcements().append(text=SMALL, id="list")
        readers.pump_until(lambda n=number: readers.fewest() >= n, timeout=PATIENCE)
        assert set(readers.counts()) == {number}
        if server.log().count(CLOSED) > known:
            return
    pytest.fail("not closed")


def test_one_that_never_reads_harms_only_itself(server: WebServer) -> None:
    """The others are told everything, and the memory of the server is bounded."""
    both = [stream.signed_stream_name for stream in (Announcements(), Counter(1))]
    with Crowd(server.port, handshake(both[0])) as readers:
        readers.connect(READERS)
        with Crowd(server.port, handshake(*both)) as first:
            until_closed(server, first, readers)
            before = resident(server)
        with Crowd(server.port, handshake(*both)) as second:
            until_closed(server, second, readers)
            after = resident(server)

    assert after - before < 8 * 2**20


def test_the_slow_one_comes_back_and_gets_what_it_missed(server: WebServer) -> None:
    """It is told with 4008, or finds the connection reset where it reads too late."""
    small, bulk = (s.signed_stream_name for s in (Announcements(), Counter(1)))
    heard: list[bytes] = []
    with (
        Crowd(server.port, handshake(small)) as readers,
        Crowd(server.port, handshake(small, bulk), on_data=heard.append) as slow,
    ):
        readers.connect(1)
        until_closed(server, slow, readers)
        assert slow.pump_until(lambda: not len(slow), timeout=PATIENCE)
        assert slow.closed in ([4008], [])
        told = readers.fewest()

    said = f'"stream":"{stream_id(Announcements().stream_name)}","position":"(.+?)"'
    position = re.findall(said.encode(), b"".join(heard))[-1].decode()
    heard.clear()
    returned = handshake(small, since=position)
    with Crowd(server.port, returned, on_data=heard.append) as again:
        again.connect(1)
        Announcements().append(text="last", id="list")
        again.pump_until(lambda: b">last<" in b"".join(heard), timeout=PATIENCE)
    missed = [int(number) for number in NUMBER.findall(b"".join(heard))]
    first = int(position.rpartition(":")[2]) + 1
    assert missed == list(range(first, told + 2))


LARGE = "x" * 1_500_000


async def test_more_than_the_buffer_gets_a_slow_client_ahead(server: WebServer) -> None:
    """Regression: it was closed as slow, came back, and was sent the same again."""
    since = await sync_to_async(moment)()
    signed = Counter(1).sign(since=since)
    await broadcast(LARGE, LARGE, LARGE)

    async with slow_line(server.port) as port:
        url = f"ws://127.0.0.1:{port}"
        async with LivePage(url, signed, since=since, max_size=None) as page:
            await page.until(lambda: page.gaps > 0)
            await broadcast("live")
            await page.until(lambda: len(page.data) == 1)
            await broadcast(LARGE, LARGE, LARGE, "last")
            await page.until(lambda: page.gaps == 2 or ">last<" in page.data[-1])
            await broadcast("next")
            await page.until(lambda: ">next<" in page.data[-1])

    assert ">live<" in page.data[0]
    assert page.doubled == 0


async def test_more_than_the_buffer_gets_a_slow_event_stream_ahead(
    server: WebServer,
) -> None:
    since = await sync_to_async(moment)()
    signed = Counter(1).sign(since=since)
    await broadcast(LARGE, LARGE, LARGE)
    heard: list[str] = []

    async with slow_line(server.port) as port:
        reading = asyncio.ensure_future(listen(port, signed, since, heard))
        await until(lambda: any('action="refresh"' in data for data in heard))
        await broadcast("live")
        await until(lambda: ">live<" in heard[-1])
        await broadcast(LARGE, LARGE, LARGE, "last")
        await until(lambda: ">last<" in heard[-1] or heard.count(heard[0]) > 1)
        await broadcast("next")
        await until(lambda: ">next<" in heard[-1])
        reading.cancel()


async def listen(port: int, signed: str, since: str, heard: list[str]) -> None:
    """Read an event stream, and come back where it ended, as a browser does."""
    url, last_id = f"http://127.0.0.1:{port}", ""
    while True:
        async with events(url, signed, since=since, last_id=last_id) as stream:
            with suppress(EOFError, httpx.TransportError):
                while True:
                    heard.append(await stream.data())
                    last_id = stream.last_id
        last_id = stream.last_id or last_id


async def broadcast(*texts: str) -> None:
    for text in texts:
        Counter(1).append(text=text, id="list")
    await sync_to_async(turbo.flush)()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - a list tells nobody
            await asyncio.sleep(0.02)
