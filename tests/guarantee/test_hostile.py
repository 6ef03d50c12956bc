"""A hostile client gets answers, and harms neither the others nor the server."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil
import pytest
import websockets

from tests.support.clients import LivePage, connect
from tests.support.full import for_full_runs
from tests.testapp.streams import Announcements, Counter

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("same_layer")]

FRAMES = 100_000
#: So that it does not take an hour.
UNLIMITED = {
    section: {"FRAMES": None, "NAMES": None, "TESTS": None, "REPLAY_BYTES": None}
    for section in ("CONNECTION_LIMITS", "USER_LIMITS")
}


@pytest.fixture(params=["redis"])
def layer(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


def random_frame(rng: random.Random) -> str | bytes:
    kind = rng.randrange(8)
    if kind == 0:
        return rng.randbytes(rng.randrange(100))
    if kind == 1:
        return "".join(chr(rng.randrange(1, 0xD7FF)) for _ in range(rng.randrange(60)))
    if kind == 2:
        return "[" * rng.randrange(500)
    name = rng.choice(["", "x", "a:b:c", None, 7, "é" * 50, [], {}])
    since = rng.choice(["", "?", "e:1", "@1", ":", "e:-1", "x:99999999999999999999", 3])
    streams: Any = rng.choice(
        [None, [], {}, "x", [name], [{"name": name, "since": since}] * rng.randrange(4)]
    )
    types = ["subscribe", "unsubscribe", "ping", "message", None, 3, []]
    frame = {"type": rng.choice(types), "streams": streams}
    return json.dumps(rng.choice([frame, frame, frame, [frame], 3, None]))


@for_full_runs
async def test_random_frames_get_answers_and_memory_stays_flat(
    make_project: Callable[..., Any], daphne: Callable[..., Any]
) -> None:
    server = daphne(make_project("redis", TURBO=UNLIMITED))
    rng = random.Random(7)
    signed = Announcements().signed_stream_name
    process = psutil.Process(server.pid)
    async with LivePage(server.ws_url, signed) as good:
        origin: Any = server.url
        async with connect(f"{server.ws_url}/ws/", origin=origin) as hostile:
            await hostile.send(
                json.dumps({"type": "subscribe", "streams": [{"name": signed}]})
            )
            grown = [0]
            for n in range(FRAMES):
                await hostile.send(random_frame(rng))
                if n % 100 == 99:
                    await drain(hostile)
                if n in (FRAMES // 5, FRAMES - 1):
                    grown.append(process.memory_info().rss)
            Announcements().append(text="still", id="x")
            await good.until(lambda: bool(good.data))
            texts = await drain(hostile)

    assert any("still" in text for text in texts)
    assert grown[2] - grown[1] < 4 * 1024 * 1024
    assert "Traceback" not in server.log()


async def drain(socket: Any) -> list[str]:
    """Read until the server has answered everything it was sent."""
    await socket.send('{"type":"ping"}')
    await socket.send('{"type":"subscribe","streams":[{"name":"the end"}]}')
    texts = []
    while '"the end"' not in (text := await socket.recv()):
        texts.append(text)
    return texts


@for_full_runs
async def test_ten_thousand_subscriptions_in_a_row_are_answered(
    make_project: Callable[..., Any], daphne: Callable[..., Any]
) -> None:
    server = daphne(make_project("redis", TURBO=UNLIMITED))
    signed = Announcements().signed_stream_name
    frame = json.dumps({"type": "subscribe", "streams": [{"name": signed}]})
    origin: Any = server.url
    async with connect(f"{server.ws_url}/ws/", origin=origin) as socket:
        answers = []
        for _ in range(100):
            for _ in range(100):
                await socket.send(frame)
            answers += [await told(socket) for _ in range(100)]
        Announcements().append(text="once", id="x")
        heard = [await told(socket)]
        await socket.send('{"type":"ping"}')
        heard.append(await told(socket))

    assert answers == ["subscribed"] * 10_000
    assert heard == ["message", "pong"]


async def told(socket: Any) -> str:
    """Return the type of the next frame that is no sign of life."""
    while (kind := str(json.loads(await socket.recv())["type"])) == "ping":
        pass
    return kind


async def test_more_streams_than_allowed_are_denied_one_by_one(
    make_project: Callable[..., Any], daphne: Callable[..., Any]
) -> None:
    server = daphne(make_project("redis", TURBO={"MAX_STREAMS": 3}))
    names = [Counter(n).signed_stream_name for n in range(5)]
    origin: Any = server.url
    async with connect(f"{server.ws_url}/ws/", origin=origin) as socket:
        for name in names:
            await socket.send(
                json.dumps({"type": "subscribe", "streams": [{"name": name}]})
            )
        answers = [json.loads(await socket.recv()) for _ in names]

    assert [a["type"] for a in answers] == ["subscribed"] * 3 + ["denied"] * 2
    assert {a.get("reason") for a in answers[3:]} == {"limit"}


async def test_ten_megabytes_in_one_frame_end_only_that_connection(
    make_project: Callable[..., Any], daphne: Callable[..., Any]
) -> None:
    server = daphne(make_project("redis"))
    origin: Any = server.url
    async with LivePage(server.ws_url, Announcements().signed_stream_name) as good:
        async with connect(f"{server.ws_url}/ws/", origin=origin) as socket:
            await socket.send("x" * 100_000)
            answer = json.loads(await socket.recv())
            with suppress(websockets.ConnectionClosed):
                await socket.send("x" * 10_000_000)
            await socket.wait_closed()
        Announcements().append(text="still", id="x")
        await good.until(lambda: bool(good.data))

    assert (answer["type"], answer["reason"]) == ("error", "too_large")
    assert socket.close_code in (1006, 1009)
