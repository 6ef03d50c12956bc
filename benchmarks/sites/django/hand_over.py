"""Print as JSON what a broadcast costs its caller, and how a stream slows rows."""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")
django.setup()

from board.models import Plain, Room  # noqa: E402
from site_publish import CONTENT  # noqa: E402

ROWS, CALLS, ROUNDS = 20_000, 500, 7


def timed(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def caller() -> float:
    """Return the microseconds that a broadcast takes in a plain thread."""
    room = Room(pk=1, name="Lobby")

    def send() -> None:
        room.stream.append(**CONTENT, id="messages")

    for _ in range(20):
        send()
    calls = []
    for _ in range(CALLS):
        calls.append(timed(send))
        time.sleep(0.002)  # as between the requests of a site
    return 1e6 * statistics.median(calls)


def rows() -> float:
    """Return how many times longer rows take to load if they have a stream."""
    for model in (Room, Plain):
        missing = ROWS - model.objects.count()
        model.objects.bulk_create([model(name="x") for _ in range(missing)])
    gc.disable()
    times: dict[Any, list[float]] = {Room: [], Plain: []}
    for _ in range(ROUNDS):
        for model, taken in times.items():
            taken.append(timed(lambda model=model: list(model.objects.all()[:ROWS])))
            gc.collect()
    return min(times[Room]) / min(times[Plain])


before = time.process_time()
found = {"caller": caller()}
found["cpu"] = 1e6 * (time.process_time() - before) / CALLS
if "rows" in sys.argv:
    found["rows"] = rows()
print(json.dumps(found), flush=True)
os._exit(0)
