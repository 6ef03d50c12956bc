"""The publisher finds the loop that serves."""

from __future__ import annotations

import asyncio

import pytest

from turbo import serving


@pytest.fixture(autouse=True)
def nobody_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_loop", None)
    monkeypatch.setattr(serving, "_expected", False)


def test_no_loop_serves_at_first() -> None:
    assert serving.loop() is None
    assert not serving.expected()


def test_an_application_that_was_made_lets_a_server_be_expected() -> None:
    serving.expect()

    assert serving.expected()
    assert serving.loop() is None


def test_the_last_loop_registered_serves_until_it_is_closed() -> None:
    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    serving.register(first)
    serving.register(second)

    assert serving.loop() is second
    assert serving.expected()
    second.close()
    assert serving.loop() is None
    first.close()
