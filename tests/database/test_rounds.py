"""The threads that look into databases: one that is away does not hold up others."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker

from tests.settings import sqlite_database
from tests.support.databases import an_alias
from tests.support.servers import PATIENCE, wait_until
from turbo.database.rounds import Rounds
from turbo.runtime.backoff import OutageLog


@pytest.fixture
def two(tmp_path: Path, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    one, other = (sqlite_database(tmp_path / name) for name in ("one", "another"))
    with (
        django_db_blocker.unblock(),
        an_alias("one", one),
        an_alias("another", other),
    ):
        yield


def outage_log(alias: str) -> OutageLog:
    return OutageLog(logging.getLogger(), down=alias, up=alias)


class Looking:
    """What was looked into, and what failed."""

    def __init__(
        self,
        *,
        away: str = "",
        is_explained: bool = False,
        aliases: Callable[[], Sequence[str]] = lambda: ["one", "another"],
    ) -> None:
        self.is_explained = is_explained
        self.seen: list[str] = []
        self.failed: list[str] = []
        self.enough = threading.Event()
        self._away = away
        self.rounds = Rounds(
            "looking",
            interval=0.001,
            aliases=aliases,
            look=self._look,
            outages=outage_log,
            explains=self._explain,
        )

    def _look(self, alias: str) -> None:
        self.seen.append(alias)
        if self.seen.count("another") == 5:
            self.enough.set()
        if alias == self._away:
            raise ConnectionError("It is away.")

    def _explain(self, alias: str) -> bool:
        self.failed.append(alias)
        return self.is_explained

    def stop(self) -> None:
        assert self.enough.wait(PATIENCE)
        self.rounds.stop()


def test_each_is_looked_into_again_and_again(two: None) -> None:
    looking = Looking()
    looking.rounds.start()
    looking.stop()

    assert looking.seen[:4] == ["one", "another", "one", "another"]


def test_one_that_fails_has_to_wait(two: None) -> None:
    looking = Looking(away="one")
    looking.rounds.start()
    looking.stop()

    assert looking.failed == ["one", "one"]  # at once with a new connection
    assert looking.seen.count("one") == 2


@pytest.mark.parametrize("is_explained", [False, True])
def test_an_outage_is_logged_unless_it_is_explained(
    two: None, caplog: pytest.LogCaptureFixture, *, is_explained: bool
) -> None:
    looking = Looking(away="one", is_explained=is_explained)
    looking.rounds.start()
    looking.stop()

    assert caplog.messages == ([] if is_explained else ["one"])


@pytest.mark.parametrize("keeps", [False, True])
def test_connections_of_hooks_are_closed(two: None, *, keeps: bool) -> None:
    """Regression: one that the server had ended failed in each later look."""
    made: dict[str, set[int]] = {"one": set(), "another": set()}
    connected: list[Any] = []

    def look(alias: str) -> None:
        for each in (alias, "another"):
            connections[each].ensure_connection()
            connected.append(connections[each].connection)  # so that no id is reused
            made[each].add(id(connected[-1]))
        if len(connected) > 8:
            enough.set()

    enough = threading.Event()
    rounds = Rounds(
        "looking",
        interval=0.001,
        aliases=lambda: ["one"],
        look=look,
        outages=outage_log,
        keeps=keeps,
    )
    rounds.start()
    assert enough.wait(PATIENCE)
    rounds.stop()

    assert (len(made["one"]) == 1) is keeps
    assert len(made["another"]) > 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_has_ended_does_not_count(two: None) -> None:
    looking = Looking(aliases=sys.exit)
    looking.rounds.start()
    wait_until(lambda: not looking.rounds.is_running)


def test_it_can_begin_again(two: None) -> None:
    looking = Looking()
    looking.rounds.start()
    looking.rounds.start()  # it has begun already
    looking.stop()
    assert not looking.rounds.is_running

    looking.enough.clear()
    looking.seen.clear()
    looking.rounds.start()
    looking.stop()

    assert looking.seen[:2] == ["one", "another"]


def test_a_database_that_has_taken_the_place_of_a_test_is_left_alone(
    two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression: what a killed server had left in the real one was told."""
    looking = Looking()
    looking.rounds.start()
    assert looking.enough.wait(PATIENCE)

    monkeypatch.setitem(connections.settings["one"], "NAME", "the real one")
    before = len(looking.seen)
    wait_until(lambda: looking.seen[before:].count("another") >= 3)
    looking.stop()

    assert looking.seen[before:].count("one") <= 1  # it may have been at it


def test_a_thread_that_cannot_start_is_tried_again(
    two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    looking = Looking()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError):
            looking.rounds.start()
    assert not looking.rounds.is_running

    looking.rounds.start()
    looking.stop()


def test_a_router_that_fails_once_does_not_end_the_thread(
    two: None, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([ZeroDivisionError()])

    def aliases() -> Sequence[str]:
        if (error := next(answers, None)) is not None:
            raise error
        return ["one", "another"]

    looking = Looking(aliases=aliases)
    looking.rounds.start()
    looking.stop()

    assert "Databases could not be looked into." in caplog.text
