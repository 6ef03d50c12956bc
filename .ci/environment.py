"""
A virtual environment inside the checkout, made and filled when it is not up to date.

Standard library only: this runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

if sys.version_info < (3, 11):  # noqa: UP036, for this is what says so
    raise SystemExit(f"Python 3.11 or newer is needed; this is {sys.version}.")


class Environment:
    """
    The environment ``name``, with this checkout and ``requirements`` installed in it.

    ``requirements`` are arguments of ``pip install``. They are installed again when
    they, ``pyproject.toml``, the build hook or the interpreter have changed.
    """

    def __init__(self, name: str, *requirements: str) -> None:
        self.directory = ROOT / name
        self.requirements = requirements

    @property
    def python(self) -> str:
        scripts = "Scripts/python.exe" if os.name == "nt" else "bin/python"
        return str(self.directory / scripts)

    def run(self, *arguments: str, **options: object) -> None:
        """Run this environment's Python; end this program when it fails."""
        done = subprocess.run([self.python, *arguments], cwd=ROOT, **options)
        if done.returncode:
            raise SystemExit(done.returncode)

    def prepare(self) -> None:
        """Make and fill the environment, unless that has been done."""
        stamp = self.directory / "turbo-installed"
        if stamp.is_file() and stamp.read_text() == self._state():
            return
        print(f"Installing into {self.directory.name} (once) …", flush=True)
        self._create()
        self._pip("install", *self.requirements)
        stamp.write_text(self._state())

    def _create(self) -> None:
        """Lend our pip: Debian keeps ensurepip in a package that may be missing."""
        venv.create(self.directory, clear=True)
        lend = [sys.executable, "-m", "pip", "--python", self.python, "-qq"]
        if subprocess.run([*lend, "install", "pip"]).returncode:
            self.run("-m", "ensurepip")
            self._pip("install", "--upgrade", "pip")

    def _pip(self, *arguments: str) -> None:
        self.run("-m", "pip", "--disable-pip-version-check", "-qq", *arguments)

    def _state(self) -> str:
        """Describe what was installed; a missing file of the build hook counts too."""
        parts = [sys.version, sys.executable, *self.requirements]
        parts += [str((ROOT / "turbo/static/turbo/turbo.js").is_file())]
        digest = hashlib.sha256("\n".join(parts).encode())
        for name in ("pyproject.toml", "hatch_build.py"):
            digest.update((ROOT / name).read_bytes())
        return digest.hexdigest()


if __name__ == "__main__":
    Environment(sys.argv[1], *sys.argv[2:]).prepare()
