"""
A test that measures time runs while no other worker runs any.

``@pytest.mark.alone`` asks for it. Every test passes a door on its way to a room that
many may share: one that wants to be alone keeps the door shut until the others have
left the room, so that nobody who comes later gets in first.
"""

from __future__ import annotations

import fcntl
import gc
import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

# Files that every worker has are as good to lock as any, and nobody has to remove them.
_door = os.open(__file__, os.O_RDONLY)
_room = os.open(Path(__file__).with_name("__init__.py"), os.O_RDONLY)


# Around everything else: to wait here must not count as the test's time.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    with _alone() if item.get_closest_marker("alone") else _among_others():
        return (yield)


@contextmanager
def _among_others() -> Iterator[None]:
    with ExitStack() as stack:
        with _locked(_door, fcntl.LOCK_EX):
            stack.enter_context(_locked(_room, fcntl.LOCK_SH))
        yield


@contextmanager
def _alone() -> Iterator[None]:
    with _locked(_door, fcntl.LOCK_EX), _locked(_room, fcntl.LOCK_EX):
        # What thousands of tests left behind is no matter of the one that measures.
        gc.collect()
        gc.freeze()
        try:
            yield
        finally:
            gc.unfreeze()


@contextmanager
def _locked(file: int, how: int) -> Iterator[None]:
    fcntl.flock(file, how)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
