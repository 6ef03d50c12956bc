"""The npm package as ``npm pack`` makes it, in projects of people who bundle."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.conftest import site  # noqa: F401, for it is a fixture
from tests.support.documents import ROOT, Block, blocks
from tests.support.servers import PATIENCE

TSCONFIG = ("tsconfig.json", "tsconfig.types.json")
#: What ``npm pack`` reads.
PARTS = (
    "LICENSE",
    "README.rst",
    "package.json",
    "tsconfig.json",
    "tsconfig.types.json",
)
FOLDERS = ("bundle", "turbo/static/turbo")

_NO_PACKAGES = "no npm packages: run 'npm ci --ignore-scripts'"


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The development dependencies of this checkout; without them, skip."""
    found = ROOT / "node_modules"
    if not (found / ".package-lock.json").exists():
        required = os.environ.get("TURBO_REQUIRE_NPM") == "1"
        (pytest.fail if required else pytest.skip)(_NO_PACKAGES)
    return found


def run(directory: Path, command: str) -> str:
    """Run a command of Node's, by preference that of the environment of the tests."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        shlex.split(command),
        cwd=directory,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
    )
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout


@pytest.fixture(scope="session")
def packed(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package is after its installation."""
    source = tmp_path_factory.mktemp("source")
    for name in PARTS:
        shutil.copy(ROOT / name, source)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, source / name)
    (source / "node_modules").symlink_to(node_modules)
    run(source, "npm pack")
    with tarfile.open(next(source.glob("*.tgz"))) as archive:
        archive.extractall(source / "unpacked", filter="data")
    return source / "unpacked" / "package"


@pytest.fixture
def project(packed: Path, node_modules: Path, tmp_path: Path) -> Path:
    """A project that has installed the package and those of this checkout."""
    installed = tmp_path / "node_modules"
    installed.mkdir()
    for path in node_modules.iterdir():
        (installed / path.name).symlink_to(path)
    shutil.copytree(packed, installed / "django-turbo-streams")
    (tmp_path / "package.json").write_text('{"private": true, "type": "module"}')
    return tmp_path


@pytest.fixture
def follow(project: Path) -> Callable[[Path], dict[str, Block]]:
    """
    Do what a page of the documentation says, in the project.

    Its files are written, and of its commands ``npx`` runs. The result are its blocks
    by caption.
    """

    def do(page: Path) -> dict[str, Block]:
        found = {block.caption: block for block in blocks(page) if block.caption}
        for caption, block in found.items():
            path = project / caption
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.code)
        for block in blocks(page, "console"):
            for line in block.code.replace("\\\n", " ").splitlines():
                if line.startswith("$ npx "):
                    run(project, line.removeprefix("$ "))
        return found

    return do
