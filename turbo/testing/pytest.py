"""
The fixture for pytest; add this to ``conftest.py``::

    pytest_plugins = ["turbo.testing.pytest"]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest

from turbo.streams.registry import resolve
from turbo.testing.broadcasts import BroadcastCapture
from turbo.testing.elements import StreamElement

__all__ = ["Broadcasts", "broadcasts"]

Broadcasts: TypeAlias = Callable[..., list[StreamElement]]


@pytest.fixture
def broadcasts() -> Iterator[Broadcasts]:
    """
    Capture the broadcasts of the test, and return a function that lists them.

    ::

        def test_message(db, broadcasts):
            Message.objects.create(room=room, text="Hi")

            assert [element.action for element in broadcasts(room)] == ["append"]

    A call runs the hooks that wait for the commit of the test's transaction. It returns
    all elements since the test began, of these streams or of all.
    """
    capture = BroadcastCapture()

    def collect(*streams: Any) -> list[StreamElement]:
        capture.commit()
        names = {resolve(stream).stream_name for stream in streams}
        return [sent for sent in capture.elements if not names or sent.stream in names]

    with capture:
        yield collect
