"""What is to be done before a process ends is done, and in a bounded time."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from turbo.runtime import endings


@pytest.fixture(autouse=True)
def _no_callbacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "_callbacks", [])
    monkeypatch.setattr(endings, "_begun", None)


def test_the_last_one_is_called_first_and_none_keeps_the_others_from_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    called: list[str] = []

    @endings.before_end
    def first() -> None:
        called.append("first")

    @endings.before_end
    def failing() -> None:
        raise ValueError

    endings.before_end(lambda: called.append("last"))
    endings._end()

    assert called == ["last", "first"]
    assert "A callback failed at the end of the process." in caplog.text


def test_all_that_comes_late_shares_one_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While Redis is away, each one would wait for the whole timeout."""
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=7.0)
    monkeypatch.setattr(endings, "time", clock)

    assert (endings.has_begun(), endings.remaining(5.0)) == (False, 5.0)
    endings._end()
    assert (endings.has_begun(), endings.remaining(5.0)) == (True, 5.0)
    clock.now = 10.0
    assert endings.remaining(5.0) == 2.0
    clock.now = 100.0
    assert endings.remaining(5.0) == 0.0


def test_a_child_of_one_that_ends_has_not_begun_to_end() -> None:
    endings._end()

    endings._after_fork()

    assert not endings.has_begun()
