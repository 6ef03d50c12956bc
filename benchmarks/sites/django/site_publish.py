"""Make the site broadcast, in plain ASGI because requests are not measured."""

from __future__ import annotations

import os
import time
from itertools import cycle, islice
from typing import Any

from asgiref.sync import sync_to_async
from board.models import Room
from board.streams import CONTENT

#: How many rooms there are.
ROOMS = int(os.environ.get("BENCH_ROOMS", "1"))


def publish(count: int) -> float:
    """Broadcast ``count`` messages; return the time before the first."""
    room = Room(pk=1, name="Lobby")
    started = time.monotonic()
    for _ in range(count):
        room.stream.append(**CONTENT, id="messages")
    return started


def rooms(count: int) -> float:
    """Broadcast ``count`` messages to one room after the other."""
    started = time.monotonic()
    for number in islice(_numbers, count):
        Room(pk=number, name="Lobby").stream.append(**CONTENT, id="messages")
    return started


_numbers = cycle(range(1, ROOMS + 1))


def save(count: int) -> float:
    """Save the room, which broadcasts one message; return the time of the commit."""
    Room.objects.get(pk=1).save()
    return time.monotonic()


WORK = {"publish": publish, "rooms": rooms, "save": save}


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer ``/publish/<count>`` and its siblings in a thread, like views."""
    await receive()
    _, name, count = scope["path"].split("/")
    answer = await sync_to_async(WORK[name], thread_sensitive=False)(int(count))
    body = str(answer).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
