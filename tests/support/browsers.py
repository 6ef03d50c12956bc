"""Where the browser is that the tests drive, and how it is started."""

from __future__ import annotations

import os
import shutil

__all__ = ["FLAGS", "find_chromium"]

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find_chromium() -> str | None:
    """Return the Chromium of this machine, or the program that is named for it."""
    names = ("chromium", "chromium-browser", "google-chrome")
    paths = (os.environ.get("TURBO_CHROMIUM"), *map(shutil.which, names))
    return next(filter(None, paths), None)
