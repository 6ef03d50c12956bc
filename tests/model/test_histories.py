"""Whatever happens, each page shows what a fresh one shows, or was told of a gap."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import pytest
from django.test import override_settings
from hypothesis import note

from tests.model.actions import Action, Browser, Cut, Kill, Mend, Wait, Write
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


def test_nothing_goes_wrong() -> None:
    live([Write(0, 0), Write(1, 1), Wait(1.0), Write(0, 0)])


def test_replies_are_lost_for_a_while() -> None:
    live([Cut(0, "in"), Write(0, 0), Wait(3.0), Mend(0), Write(0, 0), Wait(1.0)])


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
