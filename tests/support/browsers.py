"""Find the browser for the tests; ``FLAGS`` are its options."""

from __future__ import annotations

import os
import shutil

__all__ = ["FLAGS", "find_chromium", "find_window"]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


#: The first has no window to draw, so the tests take less than half of the time.
NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """Return the path in ``TURBO_CHROMIUM``, or of a Chromium on this machine."""
    paths = (os.environ.get("TURBO_CHROMIUM"), *map(shutil.which, NAMES))
    return next(filter(None, paths), None)


def find_window() -> str | None:
    """Return a Chromium with windows: it keeps pages for the button "Back"."""
    paths = (os.environ.get("TURBO_CHROMIUM"), *map(shutil.which, NAMES[1:]))
    return next(filter(None, paths), None)
