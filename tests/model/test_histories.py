"""Whatever happens, each page shows what a fresh one shows, or was told of a gap."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pytest
from django.test import override_settings
from hypothesis import given, note

from tests.fuzz.searching import explore
from tests.model.actions import (
    Action,
    Browser,
    Cut,
    Failover,
    Forget,
    Kill,
    Mend,
    Pause,
    Reset,
    Restart,
    Resume,
    Slow,
    Wait,
    Write,
    histories,
)
from tests.model.site import Site

#: Small numbers, so that short histories exceed them.
SETTINGS = {
    "REPLAY_BACKEND": "tests.support.simulation.process.ProcessReplay",
    "QUEUE_BYTES": 5_000,
    "PUBLISH_QUEUE": 30,
    "CONNECTION_LIMITS": {"FRAMES": None, "NAMES": None, "REPLAY_BYTES": None},
}
LAYERS = {"default": {"BACKEND": "tests.support.simulation.process.ProcessLayer"}}


@pytest.fixture(autouse=True)
def _simulated() -> Iterator[None]:
    with override_settings(TURBO=SETTINGS, CHANNEL_LAYERS=LAYERS):
        yield


def live(history: Sequence[Action]) -> None:
    """Let a history happen to a site, and check what it promises."""
    site = Site()
    try:
        for action in history:
            site.note(f"--- {action}")
            action.act(site)
        site.finish()
    except BaseException:
        note("\n".join(site.history))
        raise
    finally:
        site.close()


@pytest.mark.slow
def test_whatever_happens() -> None:
    explore(given(history=histories())(live), examples=100)


def test_nothing_goes_wrong() -> None:
    live([Write(0, 0), Write(1, 1), Wait(1.0), Write(0, 0)])


#: The shortest histories in which a promise was broken once, by what was wrong.
FOUND: dict[str, list[Action]] = {
    "a-replay-larger-than-the-queue": [Write(1, 0, count=3, large=True), Slow(1)],
    "connections-to-a-former-master": [Failover(drops=False)],
    "groups-that-the-layer-lost": [Forget("groups")],
    "routes-that-were-lost": [Wait(40.0), Forget("routes"), Write(0, 0)],
    "a-group-that-could-not-be-left": [
        *(Cut(2), Reset(2), Browser(0, "leave"), Wait(16.0), Mend(2)),
    ],
    "a-last-message-that-the-layer-dropped": [
        *(Pause(2), Pause(3), *[Write(0, 0, None), Wait(0.05)] * 8),
        *(Resume(2), Resume(3)),
    ],
    "a-message-of-an-ended-epoch": [
        *(Write(2, 0, large=True), Failover(lost=5, split=0.3), Write(1, 1, pause=0.3)),
        *(Write(2, 1, count=10, pause=0.3), Wait(1.0), Kill(3)),
    ],
    "a-newer-message-that-was-lost": [
        *(Cut(1), Write(1, 1, 1, count=3), Wait(0.05), Write(0, 1, 1), Wait(0.3)),
        *(Restart("none"), Wait(1.0), Mend(1)),
    ],
    "a-failover-and-a-failback": [
        *(Write(0, 0, count=3), Wait(1.0), Browser(0, "sleep"), Failover(lost=9)),
        *(Failover(), Write(0, 0, count=3), Wait(1.0), Browser(0, "wake")),
    ],
    "an-answer-that-was-lost": [
        *(Write(0, 0), Wait(0.3), Cut(0, "in"), Write(0, 0, count=3), Wait(7.0)),
        Mend(0),
    ],
    "a-request-that-comes-late": [
        *(Cut(0), Write(0, 0, 0), Wait(7.0), Mend(0, 6.0), Wait(0.3)),
        *(Write(0, 0, 0, count=2), Wait(16.0)),
    ],
    "a-writer-killed-after-it-was-overtaken": [
        *(Write(0, 0, pause=0.3), Write(1, 0), Wait(0.3), Kill(0)),
    ],
    "a-busy-connection-to-a-former-master": [
        *(Browser(0, "stall"), Write(0, 0, count=41), Wait(1.0), Failover(drops=False)),
    ],
    "a-new-writer-in-a-failover": [
        *(
            Kill(0),
            Failover(drops=False, split=0.3),
            Write(0, 0),
            Write(0, 1, pause=0.3),
        ),
        *(Write(1, 1), Wait(1.0)),
    ],
    "a-queue-that-overflows": [
        *(Cut(0), Write(0, 0, None, count=40), Wait(1.0), Mend(0)),
    ],
}


@pytest.mark.parametrize("history", FOUND.values(), ids=FOUND)
def test_it_stays_mended(history: list[Action]) -> None:
    live(history)


def test_what_a_stopped_process_has_yet_to_do_stays_in_order() -> None:
    """Regression of the simulation: the second message went out before the first."""
    live([Pause(0), Write(0, 0), Wait(1.0), Write(0, 0)])


def test_a_history_is_the_same_each_time() -> None:
    """The order of what happens depends on nothing but the history."""
    history: list[Action] = [
        *(Write(0, 0, 0, 3), Kill(3), Wait(1.0), Browser(0, "sleep")),
        *(Write(1, 0, 1, 3, 0.3), Wait(1.0), Browser(0, "wake"), Wait(1.0)),
    ]

    first, second = (happened(history) for _ in range(2))

    assert first == second


def happened(history: Sequence[Action]) -> list[str]:
    """Return what happens, without the random names of epochs."""
    site = Site()
    try:
        for action in history:
            action.act(site)
    finally:
        site.close()
    return [re.sub(r" at \w+:", " at ", line) for line in site.history]
