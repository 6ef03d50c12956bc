"""Whoever registers is called in a forked process, and nobody else registers there."""

from __future__ import annotations

import gc
import logging
import os
import re
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.rooms import modules
from tests.support.servers import PATIENCE
from turbo import metrics
from turbo.connections import permission_questions
from turbo.replay.dummy import DummyReplay
from turbo.runtime import forks
from turbo.runtime.backoff import OutageLog
from turbo.runtime.failures import FailureLog

#: Modules whose locks a child leaves behind, and what it makes in their place.
LEFT_BEHIND = {
    "bindings.cache.background": "another publisher",
    "bindings.store.memory": "another store",
    "database.outbox.tracking": "another tracker",
    "delivery.publisher_thread": "another publisher",
    "pubsub.changes": "other objects",
    "replay.memory": "another log",
    "replay.texts": "another log",
    "runtime.queue": "another publisher",
}

REGISTERED = forks._callbacks


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


@contextmanager
def held_by_a_thread(lock: Any) -> Iterator[None]:
    """Let a thread that no child has hold a lock meanwhile."""
    has_it, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            has_it.set()
            may_end.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    assert has_it.wait(PATIENCE)
    yield
    may_end.set()
    thread.join()


OUTAGE = OutageLog(logging.getLogger("tests"), down="down", up="up")
FAILURES = FailureLog()
DUMMY: Any = DummyReplay()
FORBIDDEN = DUMMY._forbidden  # a child goes on with the log of its parent


@pytest.mark.parametrize(
    ("owner", "work"),
    [
        (metrics, lambda: metrics.count("failed")),
        (FAILURES, lambda: FAILURES.add("Nothing works.", ValueError())),
        (OUTAGE, lambda: OUTAGE.down(ValueError())),
        (FORBIDDEN, lambda: FORBIDDEN.get("stream=room")),
    ],
)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_does_not_wait_for_a_thread_of_its_parent(
    monkeypatch: pytest.MonkeyPatch, owner: Any, work: Callable[[], object]
) -> None:
    """Regression: what held a lock at that instant held it for ever in the child."""
    monkeypatch.setattr(forks, "_callbacks", dict(REGISTERED))
    said: list[str] = []

    def work_in_child() -> None:
        signal.alarm(round(PATIENCE))  # waiting for the lock has no other end
        work()
        said.append("done")

    forks.after_in_child(work_in_child)

    with held_by_a_thread(owner._lock):
        assert said_in_child(said) == "done"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_test_that_runs_in_the_parent_is_not_slow_in_a_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Regression: its class was asked apart from then on, as slow ones are."""
    monkeypatch.setattr(forks, "_callbacks", dict(REGISTERED))
    said: list[str] = []
    running = {(Thing, 1): 0.0}
    monkeypatch.setattr(permission_questions, "_begun", running)
    forks.after_in_child(lambda: said.append(f"{len(running)} run"))

    assert said_in_child(said) == "0 run"
    assert len(running) == 1


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_counts_from_nought(monkeypatch: pytest.MonkeyPatch) -> None:
    """What its parent has counted would be summed up twice."""
    monkeypatch.setattr(forks, "_callbacks", dict(REGISTERED))
    metrics.count("gaps", 3)
    said: list[str] = []
    forks.after_in_child(lambda: said.append(str(metrics.counters()["gaps"])))

    assert said_in_child(said) == "0"
    assert metrics.counters()["gaps"] >= 3


def test_every_other_lock_is_renewed() -> None:
    """A lock that a child goes on with is one of ``forks``."""
    locking = {
        name
        for name, path in modules().items()
        if re.search(r"\bthreading\.(R?Lock|Condition)\(", path.read_text())
    }

    assert locking == {"runtime.forks", *LEFT_BEHIND}


def test_nothing_else_registers_for_forks() -> None:
    registering = [
        name
        for name, path in modules().items()
        if re.search(r"\bregister_at_fork\b", path.read_text())
    ]

    assert registering == ["runtime.forks"]


#: Set when a process is about to fork, before anything waits.
FORKING = threading.Event()
os.register_at_fork(before=FORKING.set)


@contextmanager
def in_a_library(leave: threading.Event, said: list[str]) -> Iterator[None]:
    """Let a thread delay forks until an event is set."""
    inside = threading.Event()

    def work() -> None:
        with forks.delaying_forks():
            inside.set()
            leave.wait(PATIENCE)
            said.append("left")

    thread = threading.Thread(target=work)
    thread.start()
    assert inside.wait(PATIENCE)
    yield
    leave.set()
    thread.join()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_waits_for_who_is_in_a_library() -> None:
    """Regression: SQLite held a lock, and a forked process waited for it for ever."""
    said: list[str] = []
    FORKING.clear()

    with in_a_library(FORKING, said):
        assert said_in_child(said) == "left"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor for the thread that forks."""
    monkeypatch.setattr(forks, "PATIENCE", 0.01)
    said: list[str] = []

    with in_a_library(threading.Event(), said), forks.delaying_forks():
        assert said_in_child(said) == ""

    assert said == ["left"]
    assert not forks._fence._inside


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_who_comes_while_a_process_forks_waits_for_it() -> None:
    order: list[str] = []
    thread = threading.Thread(target=lambda: enter(order))
    forks._fence.before()
    thread.start()
    order.append("forked")
    forks._fence.in_parent()
    thread.join()

    assert order == ["forked", "entered"]


def enter(order: list[str]) -> None:
    with forks.delaying_forks():
        order.append("entered")
