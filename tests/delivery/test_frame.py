"""
A frame is encoded once for each kind of server.

The bytes of a text frame are as RFC 6455 has them.
"""

from __future__ import annotations

import pytest

from turbo.delivery.frame import Frame, text_frame


def test_wire_is_computed_once_for_each_key() -> None:
    calls: list[str] = []

    def encode(text: str) -> bytes:
        calls.append(text)
        return text.encode()

    frame = Frame("é")

    assert [frame.wire("a", encode), frame.wire("a", encode)] == ["é".encode()] * 2
    assert frame.wire("b", str.upper) == "É"
    assert calls == ["é"]
    assert frame.size == 1


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_the_head_holds_the_size_in_the_fewest_bytes(size: int, head: bytes) -> None:
    assert text_frame("x" * size) == head + b"x" * size


def test_the_size_is_that_of_the_utf8() -> None:
    assert text_frame("é") == b"\x81\x02\xc3\xa9"


def test_half_a_character_is_replaced() -> None:
    assert text_frame("a\ud800") == b"\x81\x02a?"
