"""The bytes that go out, held against another implementation's parser."""

from __future__ import annotations

import pytest
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from turbo.delivery.frame import text_frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_a_text_frame_is_what_rfc_6455_says(size: int) -> None:
    reader = StreamReader()
    reader.feed_data(text_frame("x" * size))
    parsing = Frame.parse(reader.read_exact, mask=False, max_size=None)

    with pytest.raises(StopIteration) as parsed:
        next(parsing)

    assert parsed.value.value == Frame(Opcode.TEXT, b"x" * size)


def test_what_has_no_utf_8_does_not_stop_a_broadcast() -> None:
    """A lone surrogate, which JSON can hold and UTF-8 cannot."""
    assert text_frame("a\ud800") == b"\x81\x02a?"
