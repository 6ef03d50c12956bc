"""What one connection and one user may ask for, and whose count it is."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.test import override_settings

from turbo import counters
from turbo.connections import budgets
from turbo.connections.budgets import ConnectionBudget, accounts
from turbo.connections.limits import check_limits
from turbo.exceptions import ConfigurationError


def limits(*, connection: dict[str, Any] | None = None, user: Any = None) -> Any:
    given = {"CONNECTION_LIMITS": connection or {}, "USER_LIMITS": user or {}}
    return override_settings(TURBO=given)


def session(key: str) -> Any:
    return SimpleNamespace(session_key=key)


@pytest.fixture(autouse=True)
def _no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or what was spent would be there again before the test has asked for more."""
    now = time.monotonic()
    monkeypatch.setattr(budgets, "time", SimpleNamespace(monotonic=lambda: now))


@pytest.fixture
def budget_of() -> Iterator[Any]:
    """Make budgets that are closed after the test: ``budget_of(user=ann)``."""
    made: list[ConnectionBudget] = []

    def make(**scope: Any) -> ConnectionBudget:
        made.append(ConnectionBudget(scope))
        return made[-1]

    yield make
    for budget in made:
        budget.close()


def test_a_rate_is_spent_at_once_and_then_refused(budget_of: Any) -> None:
    budget = budget_of()

    with limits(connection={"NAMES": 10}):
        assert budget.spend("names", 10)
        assert not budget.spend("names")


def test_what_is_refused_costs_nothing(budget_of: Any) -> None:
    """What the connection has left is not spent on what the user may not have."""
    user = User(pk=201)
    first, second = budget_of(user=user), budget_of(user=user)

    with limits(connection={"NAMES": 10}, user={"NAMES": 10}):
        first.spend("names", 5)
        assert not second.spend("names", 6)
        assert second.spend("names", 5)


def test_more_than_a_minutes_worth_passes_when_nothing_was_spent(
    budget_of: Any,
) -> None:
    """What is large must not be refused for ever."""
    budget = budget_of()

    with limits(connection={"REPLAY_BYTES": 10}):
        assert budget.spend("replay_bytes", 1_000)
        assert not budget.spend("replay_bytes", 1)


def test_connections_of_a_user_share_the_users_limit(budget_of: Any) -> None:
    user = User(pk=202)
    first, second = budget_of(user=user), budget_of(user=user)

    with limits(user={"NAMES": 10}):
        assert first.spend("names", 6)
        assert not second.spend("names", 6)
        assert second.spend("names", 4)


def test_users_do_not_share(budget_of: Any) -> None:
    first, second = budget_of(user=User(pk=203)), budget_of(user=User(pk=204))

    with limits(user={"NAMES": 10}):
        assert first.spend("names", 10)
        assert second.spend("names", 10)


def test_a_user_who_reconnects_has_not_forgotten(budget_of: Any) -> None:
    first = budget_of(user=User(pk=205))
    with limits(user={"NAMES": 10}):
        first.spend("names", 10)
        first.close()

        assert not budget_of(user=User(pk=205)).spend("names")


def test_what_was_spent_before_the_user_was_known_counts_for_the_user(
    budget_of: Any,
) -> None:
    """Or each new connection would have a first frame for nothing."""
    user = User(pk=206)
    for number in range(2):
        budget = budget_of(user=AnonymousUser(), session=session(f"t{number}"))
        with limits(user={"NAMES": 10}):
            budget.spend("names", 5)
            budget.identify(user, None)

    with limits(user={"NAMES": 10}):
        assert not budget_of(user=user).spend("names", 5)


def test_visitors_count_by_session(budget_of: Any) -> None:
    nobody = AnonymousUser()
    first = budget_of(user=nobody, session=session("s1"))
    second = budget_of(user=nobody, session=session("s1"))
    stranger = budget_of(user=nobody, session=session("s2"))

    with limits(user={"LISTS": 1}):
        assert first.hold("lists")
        assert not second.hold("lists")
        assert stranger.hold("lists")


def test_visitors_without_a_session_do_not_share(budget_of: Any) -> None:
    first, second = budget_of(user=AnonymousUser()), budget_of()

    with limits(user={"LISTS": 1}):
        assert first.hold("lists")
        assert second.hold("lists")


def test_what_is_held_is_released(budget_of: Any) -> None:
    budget = budget_of()

    with limits(connection={"ACTIONS": 2}):
        assert budget.hold("actions", 2)
        assert not budget.hold("actions")
        budget.release("actions")
        assert budget.hold("actions")


def test_a_connection_that_ends_releases_what_it_held(budget_of: Any) -> None:
    user = User(pk=206)
    first, second = budget_of(user=user), budget_of(user=user)

    with limits(user={"KEYS": 5}):
        first.hold("keys", 5)
        first.close()
        assert second.hold("keys", 5)


def test_what_was_held_before_the_user_was_known_counts_for_the_user(
    budget_of: Any,
) -> None:
    first, second = budget_of(session=session("s3")), budget_of(user=User(pk=207))

    with limits(user={"LISTS": 3}):
        first.hold("lists", 2)
        first.identify(User(pk=207), session("s3"))
        assert second.hold("lists")
        assert not second.hold("lists")


def test_none_lifts_a_limit(budget_of: Any) -> None:
    budget = budget_of(user=User(pk=208))

    with limits(connection={"NAMES": None, "KEYS": None}, user={"NAMES": None}):
        assert budget.spend("names", 1_000_000)
        assert budget.hold("keys", 90_000)


def test_a_refusal_is_counted_each_time_and_logged_once(
    budget_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    budget = budget_of(user=User(pk=209))
    before = counters()["limited"]

    with limits(user={"TESTS": 1}), caplog.at_level(logging.INFO, "turbo.budgets"):
        budget.spend("tests")
        budget.spend("tests")
        budget.spend("tests")

    assert counters()["limited"] - before == 2
    assert caplog.messages == ["User 209 asks for more tests than is allowed."]


def test_those_without_a_session_have_one_line_in_the_log(
    budget_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    budgets._strangers.told = None
    with limits(connection={"TESTS": 1}), caplog.at_level(logging.INFO):
        for _ in range(3):
            budget = budget_of()
            budget.spend("tests")
            assert not budget.spend("tests")

    assert caplog.messages == [
        "A connection without a session asks for more tests than is allowed."
    ]


def test_a_budget_that_is_closed_counts_for_nobody(budget_of: Any) -> None:
    user = User(pk=210)
    first, second = budget_of(user=user), budget_of(user=user)

    with limits(user={"KEYS": 5}):
        second.hold("keys", 5)
        second.close()
        second.identify(user, None)
        assert first.hold("keys", 5)


async def test_frames_beyond_the_limit_are_read_later(budget_of: Any) -> None:
    budget = budget_of()
    told: list[bool] = []

    with limits(connection={"FRAMES": 600}):
        for _ in range(600):
            await budget.next_frame(lambda: told.append(True))
        assert told == []
        await budget.next_frame(lambda: told.append(True))

    assert told == [True]


async def test_a_flood_of_frames_gives_others_their_turn(budget_of: Any) -> None:
    budget, turns = budget_of(), 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.ensure_future(other())
    for _ in range(100):
        await budget.next_frame()
    task.cancel()

    assert turns >= 100


def test_users_who_are_gone_are_forgotten(budget_of: Any) -> None:
    for number in range(5_000):
        ConnectionBudget({"user": User(pk=10_000 + number)}).close()

    assert accounts() < 2_100


@pytest.mark.parametrize("value", [0, -1, 1.5, "many", True])
def test_limits_are_positive_numbers(value: Any) -> None:
    told = pytest.raises(ConfigurationError, match=r"USER_LIMITS.*KEYS")

    with limits(user={"KEYS": value}), told:
        check_limits()


def test_an_unknown_limit_is_named() -> None:
    told = pytest.raises(ConfigurationError, match="KEYES")

    with limits(connection={"KEYES": 1}), told:
        check_limits()
