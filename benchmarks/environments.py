"""Install each peer in its own environment, below ``.bench/`` in the checkout."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["ROOT", "STORE", "npm_packages", "program", "python_environment"]

ROOT = Path(__file__).resolve().parent.parent
STORE = ROOT / ".bench"


def python_environment(name: str, *requirements: str) -> Path:
    """Return the Python of an environment with ``requirements``."""
    directory = STORE / name
    python = directory / "bin" / "python"
    stamp = directory / "installed"
    state = hashlib.sha256(repr((sys.version, requirements)).encode()).hexdigest()
    if not stamp.is_file() or stamp.read_text() != state:
        print(f"Installing {name} …", flush=True)
        _run(sys.executable, "-m", "venv", "--clear", "--without-pip", str(directory))
        pip = [sys.executable, "-m", "pip", "--python", str(python)]
        _run(*pip, "install", "--quiet", *requirements)
        stamp.write_text(state)
    return python


def npm_packages(name: str, *packages: str) -> Path:
    """Return the ``node_modules`` of a directory with ``packages``."""
    directory = STORE / name
    stamp = directory / "installed"
    state = repr(packages)
    if not stamp.is_file() or stamp.read_text() != state:
        print(f"Installing {name} …", flush=True)
        directory.mkdir(parents=True, exist_ok=True)
        npm = program("npm") or "npm"
        _run(npm, "install", "--silent", "--prefix", str(directory), *packages)
        stamp.write_text(state)
    return directory / "node_modules"


def program(name: str) -> str | None:
    """Return the path of a program in this environment or in the system."""
    own = Path(sys.executable).parent
    places = os.pathsep.join([str(own), os.environ.get("PATH", ""), "/usr/sbin"])
    return shutil.which(name, path=places)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, cwd=ROOT)
