"""Whoever registers is called in a forked process, and nobody else registers there."""

from __future__ import annotations

import gc
import os
import re
import weakref

import pytest

from tests.support.rooms import modules
from turbo.runtime import forks


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the test's own callbacks are called in its children."""
    monkeypatch.setattr(forks, "_callbacks", {})


class Thing:
    def __init__(self, said: list[str]) -> None:
        self.said = said

    def forget(self) -> None:
        self.said.append("thing")


def said_in_child(said: list[str]) -> str:
    """Return what stands in ``said`` in a process that is forked now."""
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.write(write, " ".join(said).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_calls_them_in_order_and_the_parent_none() -> None:
    said: list[str] = []
    thing = Thing(said)

    @forks.after_in_child
    def first() -> None:
        said.append("first")

    forks.after_in_child(thing.forget)
    forks.after_in_child(lambda: said.append("last"))

    assert said_in_child(said) == "first thing last"
    assert said == []


def test_a_method_does_not_keep_its_object() -> None:
    said: list[str] = []
    thing = Thing(said)
    forks.after_in_child(thing.forget)
    reference = weakref.ref(thing)

    del thing
    gc.collect()
    forks._call_all()

    assert reference() is None
    assert forks._callbacks == {}
    assert said == []


def test_one_that_fails_does_not_stop_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said: list[str] = []

    @forks.after_in_child
    def fail() -> None:
        raise ValueError("no")

    forks.after_in_child(lambda: said.append("last"))
    forks._call_all()

    assert said == ["last"]
    assert [record.name for record in caplog.records] == ["turbo.failures"]


def test_nothing_else_registers_for_forks() -> None:
    registering = [
        name
        for name, path in modules().items()
        if re.search(r"\bregister_at_fork\b", path.read_text())
    ]

    assert registering == ["runtime.forks"]
