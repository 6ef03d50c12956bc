"""Recorders see broadcasts, and may keep them."""

from __future__ import annotations

from turbo.delivery.recorders import record, recording


def test_a_recorder_sees_what_is_broadcast_meanwhile() -> None:
    seen: list[tuple[str, str]] = []

    def recorder(name: str, data: str) -> None:
        seen.append((name, data))

    with recording(recorder):
        assert record("chat:Room", "<b>")
    assert record("chat:Room", "<i>")

    assert seen == [("chat:Room", "<b>")]


def test_a_recorder_that_answers_false_keeps_the_broadcast_from_all() -> None:
    seen: list[str] = []

    with recording(lambda name, data: False), recording(lambda n, d: seen.append(d)):
        assert not record("chat:Room", "<b>")

    assert seen == ["<b>"]
