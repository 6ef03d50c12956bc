"""What fails is tried again, less and less often; the log says it once."""

from __future__ import annotations

import logging

import pytest

from turbo.runtime.backoff import Backoff, OutageLog

logger = logging.getLogger("tests.backoff")

DOWN, UP = "It is away: %(type)s: %(error)s", "It is back."


@pytest.fixture
def outage() -> OutageLog:
    return OutageLog(logger, down=DOWN, up=UP)


class Waits(Backoff):
    """A back-off that notes how long it would have waited."""

    def __init__(self, *, free: int = 0) -> None:
        super().__init__(free=free, sleep=self.wait)
        self.waited: list[float] = []

    async def wait(self, seconds: float) -> None:
        self.waited.append(seconds)


class Attempts:
    """An attempt that fails as often as there are errors."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def __call__(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "done"


# --- Pauses


def test_pauses_double_up_to_the_longest() -> None:
    waits = Backoff()

    assert [waits.fail() for _ in range(7)] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert waits.failures == 7


def test_a_success_begins_anew() -> None:
    waits = Backoff()
    waits.fail()
    waits.fail()

    waits.reset()

    assert (waits.failures, waits.fail()) == (0, 0.1)


def test_free_failures_cost_no_pause() -> None:
    waits = Backoff(free=1)

    assert [waits.fail() for _ in range(3)] == [0.0, 0.1, 0.2]


def test_an_outage_may_take_days() -> None:
    """No number on the way is too large for a pause in seconds."""
    waits = Backoff()

    assert {waits.fail() for _ in range(100_000)} == {0.1, 0.2, 0.4, 0.8, 1.6, 2.0}


# --- What the log says


def test_an_outage_is_logged_once_and_so_is_its_end(
    outage: OutageLog, caplog: pytest.LogCaptureFixture
) -> None:
    assert not outage.up()
    assert outage.down(ConnectionError("no route"))
    assert not outage.down(ConnectionError("refused"))
    assert outage.is_down
    assert outage.up()
    assert not outage.up()
    outage.down(OSError("gone"))

    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("ERROR", "It is away: ConnectionError: no route"),
        ("WARNING", "It is back."),
        ("ERROR", "It is away: OSError: gone"),
    ]


def test_who_objects_keeps_it_down(
    outage: OutageLog, caplog: pytest.LogCaptureFixture
) -> None:
    outage.down(OSError("gone"))

    assert not outage.up(unless=lambda: "something is left")
    assert outage.is_down
    assert outage.up(unless=lambda: "")

    assert not outage.is_down
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


# --- Until it is done


async def test_until_done_returns_what_the_attempt_returns(
    outage: OutageLog, caplog: pytest.LogCaptureFixture
) -> None:
    waits = Waits()

    result = await waits.until_done(
        Attempts(OSError("one"), OSError("two"), OSError("three")), outage=outage
    )

    assert result == "done"
    assert (waits.failures, waits.waited) == (3, [0.1, 0.2, 0.4])
    assert [record.getMessage() for record in caplog.records] == [
        "It is away: OSError: one",
        "It is back.",
    ]


async def test_a_free_failure_is_no_outage(
    outage: OutageLog, caplog: pytest.LogCaptureFixture
) -> None:
    waits = Waits(free=1)

    await waits.until_done(Attempts(OSError("old connection")), outage=outage)

    assert (waits.waited, caplog.records) == ([], [])


async def test_what_is_fatal_is_raised(outage: OutageLog) -> None:
    waits = Waits()

    with pytest.raises(ValueError, match="never"):
        await waits.until_done(
            Attempts(OSError("now"), ValueError("never")),
            outage=outage,
            is_fatal=lambda error: isinstance(error, ValueError),
        )

    assert (waits.waited, outage.is_down) == ([0.1], True)


async def test_nobody_has_to_be_told() -> None:
    waits = Waits()

    assert await waits.until_done(Attempts(OSError("one"))) == "done"
    assert waits.waited == [0.1]
