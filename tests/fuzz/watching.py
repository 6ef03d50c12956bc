"""What a search must not see: errors in the log, and what stays in the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from turbo.runtime.failures import failures

__all__ = ["Watch", "no_tasks_stay", "watching"]

#: Turns of the loop that what ends may take to end.
TURNS = 2_000


class Watch(logging.Handler):
    """Keeps records of errors, and all that have a traceback."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or record.exc_info:
            self.seen.append(logging.Formatter().format(record))


@contextmanager
def watching() -> Iterator[None]:
    """Fail if anything is logged that an operator would have to look at."""
    failures.clear()  # each failure is logged once a minute
    watch, loop = Watch(), asyncio.get_running_loop()
    root = logging.getLogger()
    root.addHandler(watch)
    loop.set_exception_handler(
        lambda _, context: watch.seen.append(f"in the loop: {context}")
    )
    try:
        yield
    finally:
        root.removeHandler(watch)
        loop.set_exception_handler(None)
    assert not watch.seen, "\n".join(watch.seen)


async def no_tasks_stay() -> None:
    """Fail if a task goes on although nobody is connected."""
    for turn in range(TURNS):
        if len(asyncio.all_tasks()) == 1:
            return
        await asyncio.sleep(0 if turn < 100 else 0.01)
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    raise AssertionError(f"tasks that stay: {left}")
