"""What is shipped: the library, its static files and templates, and nothing else."""

from __future__ import annotations

import hashlib
import importlib
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

import turbo
from tests.support.servers import PATIENCE

ROOT = Path(__file__).resolve().parent.parent
SECURITY = ROOT / "docs/topics/security.rst"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SHIPPED = {".css", ".html", ".js", ".map", ".py", ".svg", ".typed", ""}


def hidden(path: Path) -> bool:
    """Tell whether tools left the file: it is below a cache of theirs."""
    return any(part.startswith((".", "__pycache__")) for part in path.parts)


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, and the wheel that was built from it."""
    directory = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir"]
    done = subprocess.run(
        [*build, str(directory), str(ROOT)],
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


@pytest.fixture(scope="session")
def wheel(distributions: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(next(distributions.glob("*.whl")))


@pytest.fixture
def build_hook() -> ModuleType:
    return importlib.import_module("hatch_build")


def test_wheel_contains_only_the_library(wheel: zipfile.ZipFile) -> None:
    """Every file is below the package or the wheel's own metadata."""
    tops = {name.partition("/")[0] for name in wheel.namelist()}

    assert tops == {"turbo", f"django_turbo_streams-{turbo.__version__}.dist-info"}


def test_wheel_contains_only_known_kinds_of_files(wheel: zipfile.ZipFile) -> None:
    """No cache, database, note or test has slipped into the package."""
    files = [Path(name) for name in wheel.namelist() if name.startswith("turbo/")]

    assert {file.suffix for file in files} <= SHIPPED
    assert not any(
        "test" in file.name and "testing" not in file.parts for file in files
    )


def test_wheel_contains_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    """What the checkout has below ``turbo/`` is installed, by name."""
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "turbo").rglob("*")
        if path.is_file() and not hidden(path.relative_to(ROOT))
    }

    assert expected == {name for name in wheel.namelist() if name.startswith("turbo/")}


@pytest.mark.parametrize(
    "name",
    [
        "turbo/py.typed",
        "turbo/static/turbo/turbo.js",
        "turbo/static/turbo/turbo.min.js",
        "turbo/static/turbo/turbo.min.js.map",
        "turbo/static/turbo/turbo-LICENSE",
        "turbo/static/turbo/socket.js",
        "turbo/static/turbo/turbo-channels.js",
        "turbo/static/turbo/turbo-channels.min.js",
        "turbo/static/turbo/turbo-channels.min.js.map",
        "turbo/templates/turbo/head.html",
        "turbo/inspector/static/turbo/inspector/inspector.css",
        "turbo/inspector/static/turbo/inspector/inspector.js",
        "turbo/inspector/templates/turbo/inspector/page.html",
    ],
)
def test_wheel_contains(wheel: zipfile.ZipFile, name: str) -> None:
    """The files that are no Python are there too."""
    assert name in wheel.namelist()


def test_wheel_holds_the_pinned_turbo(
    wheel: zipfile.ZipFile, build_hook: ModuleType
) -> None:
    """Turbo is byte for byte the module that was pinned."""
    content = wheel.read("turbo/static/turbo/turbo.js")

    assert hashlib.sha256(content).hexdigest() == build_hook.TURBO_SHA256


def test_wheel_metadata(wheel: zipfile.ZipFile) -> None:
    """The metadata names the promises: versions, dependencies, extras."""
    name = f"django_turbo_streams-{turbo.__version__}.dist-info/METADATA"
    metadata = HeaderParser().parsestr(wheel.read(name).decode())

    assert metadata["Name"] == "django-turbo-streams"
    assert metadata["Version"] == turbo.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata.get_all("Provides-Extra") == [
        "jinja2",
        "postgres",
        "rest",
        "telemetry",
        "uvicorn",
    ]
    assert {
        str(Requirement(text))
        for text in metadata.get_all("Requires-Dist", [])
        if "extra" not in text
    } == {str(requirement) for requirement in requirements()}


def requirements() -> list[Requirement]:
    """Return what is required without any extra."""
    return [Requirement(text) for text in PROJECT["dependencies"]]


def extras() -> list[Requirement]:
    groups = PROJECT["optional-dependencies"].values()
    return [Requirement(text) for group in groups for text in group]


def test_the_lowest_versions_are_those_of_the_documentation() -> None:
    """The table names the vulnerabilities of the older ones."""
    rows = re.findall(
        r"   \* - ``([\w-]+)``\n     - ([\d., ]+)\n     - (.+)", SECURITY.read_text()
    )
    table = {name: lowest.split(", ") for name, lowest, _ in rows}
    specifiers = {item.name: item.specifier for item in requirements() + extras()}

    assert table.keys() == specifiers.keys()
    for name, lowest in table.items():
        first, *others = lowest
        allowed = specifiers[name]
        assert f">={first}" in map(str, allowed)
        for version in others:  # of later series, whose first releases have some
            series, _, patch = version.rpartition(".")
            earlier = [series, *(f"{series}.{n}" for n in range(int(patch)))]
            assert allowed.contains(version)
            assert list(allowed.filter(earlier)) == []
    for name, _, vulnerabilities in rows:
        assert re.search(r"CVE-\d{4}-\d+|GHSA-|none known", vulnerabilities), name


@pytest.fixture(scope="session")
def unpacked(distributions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist's folder."""
    directory = tmp_path_factory.mktemp("sdist")
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as archive:
        archive.extractall(directory, filter="data")
    return next(directory.iterdir())


def test_sdist_holds_what_is_built(unpacked: Path, build_hook: ModuleType) -> None:
    """A build from the sdist needs no network: Turbo and the minified files fit."""
    assert build_hook.is_current(unpacked)


@pytest.mark.parametrize(
    "name",
    [
        ".ci/run",
        ".editorconfig",
        ".github/workflows/tests.yml",
        ".pre-commit-config.yaml",
        ".readthedocs.yaml",
        "CHANGELOG.rst",
        "bundle/.npmrc",
        "bundle/build.mjs",
        "bundle/package-lock.json",
        "noxfile.py",
        "package.json",
        "package-lock.json",
        "tsconfig.types.json",
        "tests/run.py",
    ],
)
def test_sdist_contains(unpacked: Path, name: str) -> None:
    """What the tests and the tasks read is in the sdist, so that they run there."""
    assert (unpacked / name).is_file()
