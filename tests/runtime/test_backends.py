"""A process has one backend of a kind, made when it is first asked for."""

from __future__ import annotations

import threading
from typing import Any, ClassVar

import pytest

from turbo.exceptions import ConfigurationError
from turbo.runtime.backends import Selection


class Shelf:
    supports_processes: ClassVar[bool] = False


class Shared(Shelf):
    supports_processes = True


class Chooser:
    """What a setting says, and how often it was asked."""

    def __init__(self, chosen: str = "Shelf") -> None:
        self.chosen = f"{__name__}.{chosen}"
        self.asked = 0
        self.selection: Selection[Shelf] = Selection(
            Shelf, setting="TURBO['SHELF']", choose=self.choose, make=lambda cls: cls()
        )

    def choose(self) -> str:
        self.asked += 1
        return self.chosen


def test_a_backend_is_made_once() -> None:
    chooser = Chooser()
    assert chooser.asked == 0

    made = chooser.selection.get()

    assert type(made) is Shelf
    assert chooser.selection.get() is made
    assert chooser.asked == 1


def test_threads_that_ask_together_have_one_backend() -> None:
    chooser, start = Chooser(), threading.Barrier(8)
    found = []

    def ask() -> None:
        start.wait()
        found.append(chooser.selection.get())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert len(set(map(id, found))) == 1


@pytest.mark.parametrize("setting", ["TURBO", "CHANNEL_LAYERS"])
def test_another_is_made_after_a_setting_has_changed(
    settings: Any, setting: str
) -> None:
    selection = Chooser().selection
    made = selection.get()

    settings.USE_TZ = False
    assert selection.get() is made
    setattr(settings, setting, {})

    assert selection.get() is not made


@pytest.mark.parametrize("path", ["Chooser", "pytest"])
def test_what_is_no_backend_is_named(path: str) -> None:
    problem = rf"^TURBO\['SHELF'\] is '{__name__}.{path}', which is not a Shelf\.$"

    with pytest.raises(ConfigurationError, match=problem):
        Chooser(path).selection.get()


def test_one_that_failed_is_tried_again() -> None:
    chooser = Chooser("nowhere")
    with pytest.raises(ImportError):
        chooser.selection.get()
    chooser.chosen = f"{__name__}.Shared"

    assert type(chooser.selection.get()) is Shared


@pytest.mark.parametrize(("chosen", "kept"), [("Shelf", False), ("Shared", True)])
def test_a_forked_process_keeps_only_what_is_shared(chosen: str, kept: bool) -> None:
    """What a process has in memory it does not share with its children."""
    selection = Chooser(chosen).selection
    made = selection.get()

    selection._after_fork()  # as the child calls it

    assert (selection.get() is made) is kept
