"""
A process that broadcasts: ``python -m benchmarks.faults.writer NAME RATE STREAMS LOG``.

It notes each message in its log before it hands it over. On SIGTERM it sends what
waits, notes ``end``, and ends.
"""

from __future__ import annotations

import itertools
import signal
import sys
import threading
import time
from pathlib import Path

import django

django.setup()

import turbo  # noqa: E402
from tests.testapp.streams import Counter  # noqa: E402

#: Bytes of the messages of stream 0, so that the buffers of slow pages are full soon.
LONG = 20_000


def main() -> None:
    name, rate, streams, log = sys.argv[1:]
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with Path(log).open("w", buffering=1) as out:
        for number in itertools.count(1):
            stream = number % int(streams)
            padding = "" if stream else "." * LONG
            print(stream, number, time.monotonic(), file=out)
            Counter(stream).append(text=f"{name} {number} {padding}", id="list")
            if ended.wait(1 / float(rate)):
                break
        left = turbo.flush(120)
        print("end", left, file=out)


if __name__ == "__main__":
    main()
