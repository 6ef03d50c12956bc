"""
Classes that every process has to know, and where each kind of them belongs.

At start, each process imports certain modules of all installed apps. A class that is
declared elsewhere is known only where its module happens to be imported, so a change
that a shell or a worker makes does not reach it. Nobody would notice.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from django.apps import apps

__all__ = ["Home", "Misplaced", "declared", "misplaced"]

logger = logging.getLogger("turbo.discovery")


@dataclass(frozen=True, slots=True)
class Home:
    """Where classes of one kind belong: an app imports these modules of all apps."""

    app: str
    module: str


@dataclass(frozen=True, slots=True)
class Misplaced:
    """A class that other processes may not know."""

    cls: type
    home: Home

    @property
    def lacks_app(self) -> bool:
        """Whether the app is missing that would import the class."""
        return not apps.is_installed(self.home.app)

    @property
    def problem(self) -> str:
        """What is wrong."""
        name = f"{self.cls.__module__}.{self.cls.__qualname__}"
        why = (
            f"is declared, but {self.home.app!r} is not in INSTALLED_APPS"
            if self.lacks_app
            else "was declared after the start"
        )
        return (
            f"{name} {why}. Processes that do not import {self.cls.__module__}, such "
            f"as a shell or a worker, do not know it: their changes do not reach it."
        )

    @property
    def hint(self) -> str:
        """What to do about it."""
        module = f"the {self.home.module}.py of an installed app"
        if self.lacks_app:
            return f"Add {self.home.app!r} to INSTALLED_APPS; declare it in {module}."
        return f"Declare it in {module}, or import it there."


#: The classes of the project, and whether they were declared after the start.
_classes: WeakKeyDictionary[type, tuple[Home, bool]] = WeakKeyDictionary()


def declared(cls: type, home: Home) -> None:
    """Note a class; log a warning if it is declared after the start."""
    if cls in _classes or _is_apart(cls.__module__):
        return
    is_late = apps.ready
    _classes[cls] = home, is_late
    if is_late:
        found = Misplaced(cls, home)
        logger.warning("%s %s", found.problem, found.hint)


def _is_apart(module: str) -> bool:
    """Return whether no other process needs the classes of a module."""
    parts = module.split(".")
    is_test = "tests" in parts or "test" in parts or parts[-1] == "conftest"
    if is_test or parts[-1].startswith("test_") or parts[-1].endswith("_test"):
        return True
    # A class in a shell is in __main__, in builtins or in Django's own module.
    return parts[0] in ("turbo", "__main__", "builtins", "django")


def misplaced() -> Iterator[Misplaced]:
    """Yield the classes that other processes may not know, as far as this one can."""
    for cls, (home, is_late) in list(_classes.items()):
        found = Misplaced(cls, home)
        if is_late or found.lacks_app:
            yield found
