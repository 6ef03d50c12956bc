"""A frame is encoded once for each kind of server."""

from __future__ import annotations

from turbo.delivery.frame import Frame


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
