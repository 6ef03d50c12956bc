"""
One user with ten connections, who sends the worst requests that the protocol allows.

``python -m benchmarks.timing.hostile_user URL COOKIE SECONDS``; the signed names come
from standard input, as JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import websockets


def slow_tests(names: dict[str, list[str]]) -> Iterator[Any]:
    """Yield frames with a hundred streams, whose permission test takes 20 ms."""
    for start in itertools.cycle(range(0, len(names["slow"]), 100)):
        some = names["slow"][start : start + 100]
        yield {"type": "subscribe", "streams": [{"name": name} for name in some]}
        yield {"type": "unsubscribe", "streams": some}


def replays(names: dict[str, list[str]]) -> Iterator[Any]:
    """Yield frames that ask for the same long streams from their beginning."""
    [epoch, *signed] = names["long"]
    for _ in itertools.count():
        streams = [{"name": name, "since": f"{epoch}:0"} for name in signed]
        yield {"type": "subscribe", "streams": streams}


def pings(names: dict[str, list[str]]) -> Iterator[Any]:
    """Yield only pings."""
    yield from itertools.repeat({"type": "ping"})


def lists(names: dict[str, list[str]]) -> Iterator[Any]:
    """Yield requests for lists that differ in an unknown argument."""
    for number in itertools.count():
        junk = {"request_id": number, f"junk{number}": "x" * 200, "snapshot": True}
        yield {"action": "subscribe_list", **junk}


def actions(names: dict[str, list[str]]) -> Iterator[Any]:
    """Yield actions that run in parallel."""
    for number in itertools.count():
        yield {"action": "linger", "request_id": number}


ATTACKS = [
    ("/ws/", slow_tests),
    ("/ws/", slow_tests),
    ("/ws/", replays),
    ("/ws/", replays),
    ("/ws/", pings),
    ("/ws/", pings),
    ("/ws/people/", lists),
    ("/ws/people/", lists),
    ("/ws/people/", actions),
    ("/ws/people/", actions),
]


async def attack(
    url: str, cookie: str, path: str, frames: Iterator[Any], told: dict[str, int]
) -> None:
    """Send frames as fast as the server takes them; reconnect when it disconnects."""
    origin: Any = url.replace("ws", "http", 1)
    while True:
        with suppress(OSError, websockets.WebSocketException):
            async with websockets.connect(
                f"{url}{path}",
                origin=origin,
                additional_headers={"Cookie": cookie},
                ping_interval=None,
                max_size=None,
            ) as socket:
                reading = asyncio.ensure_future(_read(socket, told))
                try:
                    for frame in frames:
                        await socket.send(json.dumps(frame))
                finally:
                    reading.cancel()
        await asyncio.sleep(0.05)


async def _read(socket: Any, told: dict[str, int]) -> None:
    async for text in socket:
        frame = json.loads(text)
        kind = frame.get("reason") or frame.get("response_status") or frame.get("type")
        told[str(kind)] = told.get(str(kind), 0) + 1


async def main() -> None:
    url, cookie, seconds = sys.argv[1:]
    names = json.load(sys.stdin)
    told: dict[str, int] = {}
    with suppress(TimeoutError):
        async with asyncio.timeout(float(seconds)):
            await asyncio.gather(
                *(
                    attack(url, cookie, path, kind(names), told)
                    for path, kind in ATTACKS
                )
            )
    print(json.dumps(told))


if __name__ == "__main__":
    asyncio.run(main())
