"""What is called when a process begins to send or to serve."""

from __future__ import annotations

import pytest

from turbo.runtime import beginnings
from turbo.runtime.beginnings import begin, when_begun


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beginnings, "_callbacks", [])
    monkeypatch.setattr(beginnings, "_has_begun", False)
    monkeypatch.setattr(beginnings, "_failed", [])


def test_each_is_called_once() -> None:
    calls: list[str] = []

    def early() -> None:
        calls.append("early")

    when_begun(early)
    when_begun(early)
    assert calls == []
    begin()
    begin()
    when_begun(lambda: calls.append("late"))

    assert calls == ["early", "late"]


def test_a_failure_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    calls: list[str] = []

    def fail() -> None:
        raise ValueError("no")

    when_begun(fail)
    when_begun(lambda: calls.append("next"))
    begin()

    assert calls == ["next"]
    assert "A callback failed at the beginning of the process." in caplog.text


def test_what_has_failed_is_called_again() -> None:
    calls: list[str] = []

    def fail_once() -> None:
        calls.append("called")
        if len(calls) == 1:
            raise RuntimeError("can't start new thread")

    when_begun(fail_once)
    for _ in range(3):
        begin()

    assert calls == ["called", "called"]


def test_a_forked_process_begins_anew() -> None:
    calls: list[str] = []
    when_begun(lambda: calls.append("begun"))
    begin()

    beginnings._after_fork()
    assert calls == ["begun"]
    begin()

    assert calls == ["begun", "begun"]
