"""
Tools for tests of broadcasts, with ``TestCase``, pytest and browsers.

::

    with assert_broadcasts(room, action="append", target="messages"):
        Message.objects.create(room=room, text="Hi")

They need no channel layer, no server and no commit: broadcasts are captured, and sent
to nobody.
"""

from __future__ import annotations

from turbo.testing.broadcasts import (
    assert_broadcasts,
    assert_no_broadcasts,
    capture_broadcasts,
)
from turbo.testing.browser import await_for_streams, wait_for_streams
from turbo.testing.elements import StreamElement, read_elements
from turbo.testing.frames import assert_no_turbo_frame, assert_turbo_frame
from turbo.testing.responses import (
    ACCEPT_STREAMS,
    assert_no_turbo_stream,
    assert_turbo_stream,
)

__all__ = [
    "ACCEPT_STREAMS",
    "StreamElement",
    "assert_broadcasts",
    "assert_no_broadcasts",
    "assert_no_turbo_frame",
    "assert_no_turbo_stream",
    "assert_turbo_frame",
    "assert_turbo_stream",
    "await_for_streams",
    "capture_broadcasts",
    "read_elements",
    "wait_for_streams",
]
