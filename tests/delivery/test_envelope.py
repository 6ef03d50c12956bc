"""What was published together crosses the layer together."""

from __future__ import annotations

import msgpack
import pytest

from turbo.delivery.envelope import Envelope, envelopes, pack, unpack


@pytest.mark.parametrize("is_for_all", [False, True])
def test_envelopes_survive_the_layer(is_for_all: bool) -> None:
    sent = [Envelope("sid", "e", 3, ("<b>", None)), Envelope("other", "f", 8, ("a",))]

    packed = msgpack.packb(pack(sent, is_for_all=is_for_all))

    assert unpack(msgpack.unpackb(packed)) == (sent, is_for_all)


def test_consecutive_messages_of_a_stream_share_an_envelope() -> None:
    joined = envelopes(
        [
            ("a", "e", 1, "x"),
            ("b", "e", 9, "y"),
            ("a", "e", 2, "z"),
            ("a", "e", 3, None),
        ]
    )

    assert joined == [
        Envelope("a", "e", 1, ("x", "z", None)),
        Envelope("b", "e", 9, ("y",)),
    ]


def test_a_number_taken_by_another_process_parts_them() -> None:
    joined = envelopes([("a", "e", 1, "x"), ("a", "e", 3, "y")])

    assert joined == [Envelope("a", "e", 1, ("x",)), Envelope("a", "e", 3, ("y",))]


def test_a_new_epoch_parts_them() -> None:
    joined = envelopes([("a", "e", 1, "x"), ("a", "f", 2, "y")])

    assert joined == [Envelope("a", "e", 1, ("x",)), Envelope("a", "f", 2, ("y",))]


def test_messages_without_positions_stay_apart_and_in_order() -> None:
    joined = envelopes([("a", "", 0, "x"), ("a", "", 0, "y")])

    assert joined == [Envelope("a", "", 0, ("x",)), Envelope("a", "", 0, ("y",))]
