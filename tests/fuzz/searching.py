"""
Running a search: the same examples each time, or new ones for as long as one likes.

Without settings a search looks at a fixed number of examples, which are the same each
time but for constants that Hypothesis takes from the modules that other tests have
loaded. With ``TURBO_SOAK_SECONDS`` it goes on with random ones for so long. What fails
prints a blob, with which ``TURBO_FUZZ_BLOB`` repeats that one example.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

import hypothesis
from hypothesis import HealthCheck, given, reproduce_failure, seed, settings
from hypothesis.errors import DidNotReproduce
from hypothesis.strategies import SearchStrategy

__all__ = ["explore", "search"]

T = TypeVar("T")

SECONDS = float(os.environ.get("TURBO_SOAK_SECONDS", "0"))
BLOB = os.environ.get("TURBO_FUZZ_BLOB", "")
#: Random examples between two looks at the clock.
BATCH = 200

settings.register_profile(
    "fuzz",
    database=None,
    deadline=None,
    derandomize=True,
    print_blob=True,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile(
    "soak",
    parent=settings.get_profile("fuzz"),
    derandomize=False,
    max_examples=BATCH,
)


def search(
    check: Callable[[T], Coroutine[Any, Any, None]],
    strategy: SearchStrategy[T],
    *,
    examples: int,
    first: Iterable[T] = (),
    before: Callable[[], None] = lambda: None,
    after: Callable[[], bool] = lambda: True,
) -> None:
    """
    Look for a value that ``check`` raises for.

    Those in ``first`` are looked at in any case. All are checked in one event loop;
    outside it ``before`` is called, and ``after`` says whether all is well.
    """
    count = 0
    with asyncio.Runner() as runner:

        def once(value: T) -> None:
            nonlocal count
            count += 1
            before()
            runner.run(check(value))
            assert after()

        for value in () if BLOB else first:
            once(value)
        explore(given(strategy)(once), examples)
    print(f"{count} examples")


def explore(test: Any, examples: int) -> None:
    """Run a test of Hypothesis with so many examples, or as the environment says."""
    if BLOB:
        with suppress(DidNotReproduce):  # it is mended, or of another search
            reproduce_failure(hypothesis.__version__, BLOB.encode())(test)()
        return
    if not SECONDS:
        profile = settings.get_profile("fuzz")
        settings(profile, max_examples=examples)(test)()
        return
    test = settings(settings.get_profile("soak"))(test)
    seeds = random.SystemRandom()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        seed(seeds.getrandbits(64))(test)()
