"""The build hook: Turbo and the minified clients fit what they were made from."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.servers import PATIENCE

ROOT = Path(__file__).resolve().parent.parent
STATIC = Path("turbo/static/turbo")


@pytest.fixture
def hook() -> ModuleType:
    return importlib.import_module("hatch_build")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout with what the hook reads and writes."""
    for folder in ("bundle", STATIC):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def contents(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (root / STATIC).iterdir()}


def source_map(root: Path, name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = json.loads((root / STATIC / name).read_text())
    return found


def test_what_is_made_here_fits_its_sources(hook: ModuleType) -> None:
    hook.build(ROOT)  # raises if it cannot

    assert hook.is_current(ROOT)


def test_every_client_has_a_minified_file_and_its_map() -> None:
    clients = {"turbo-channels", "observers", "bindings", "turbo"}

    names = set(contents(ROOT))

    assert names >= {f"{name}.min.js" for name in clients}
    assert names >= {f"{name}.min.js.map" for name in clients}


def test_a_minified_file_imports_nothing_and_names_its_map(hook: ModuleType) -> None:
    for entry in hook.entries(ROOT):
        script = (ROOT / STATIC / hook.minified(entry)).read_text()

        assert not re.search(r"(?:^|;)import\b|\bfrom\s*[\"']\./", script)
        assert script.endswith(f"\n//# sourceMappingURL={hook.minified(entry)}.map\n")


def test_a_map_contains_the_sources(hook: ModuleType) -> None:
    for entry in hook.entries(ROOT):
        found = source_map(ROOT, f"{hook.minified(entry)}.map")

        files = [(ROOT / STATIC / name).read_text() for name in found["sources"]]
        assert entry in found["sources"]
        assert found["sourcesContent"] == files


def test_the_minified_turbo_names_its_owner() -> None:
    script = (ROOT / STATIC / "turbo.min.js").read_text()

    assert re.match(r"/\*!\nTurbo [\d.]+\nCopyright © \d+ 37signals LLC\n \*/", script)


@pytest.mark.parametrize(
    ("changed", "stale"),
    [
        ("socket.js", ["turbo-channels.js", "observers.js", "bindings.js"]),
        ("rendering.js", ["turbo-channels.js"]),
        ("bindings.js", ["bindings.js"]),
        ("observers.min.js", ["observers.js"]),
        ("../../../bundle/package-lock.json", "all"),
        ("../../../bundle/build.mjs", "all"),
    ],
)
def test_a_change_makes_what_depends_on_it_stale(
    hook: ModuleType, copy: Path, changed: str, stale: list[str] | str
) -> None:
    path = copy / STATIC / changed
    path.write_bytes(path.read_bytes() + b"\n")

    assert hook.stale(copy) == (hook.entries(copy) if stale == "all" else stale)


@pytest.mark.parametrize("name", ["bindings.min.js", "bindings.min.js.map"])
def test_a_file_that_is_missing_is_stale(
    hook: ModuleType, copy: Path, name: str
) -> None:
    (copy / STATIC / name).unlink()

    assert hook.stale(copy) == ["bindings.js"]


def test_an_entry_that_is_not_written_yet_is_left_out(
    hook: ModuleType, copy: Path
) -> None:
    (copy / STATIC / "bindings.js").unlink()

    assert "bindings.js" not in hook.entries(copy)


def test_what_fits_is_not_made_again(hook: ModuleType, copy: Path) -> None:
    """So a build from the sdist needs no network: it does not even need npm."""
    (copy / "bundle" / "package.json").unlink()
    before = contents(copy)

    hook.build(copy)

    assert contents(copy) == before


@pytest.mark.slow
def test_two_builds_side_by_side(hook: ModuleType, copy: Path) -> None:
    client = copy / STATIC / "bindings.js"
    client.write_text(client.read_text() + 'export const added = "by a test";\n')
    script = "import sys, pathlib, hatch_build as h; h.build(pathlib.Path(sys.argv[1]))"
    command = [sys.executable, "-c", script, str(copy)]

    builds = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]

    assert [build.wait(4 * PATIENCE) for build in builds] == [0, 0]
    assert hook.is_current(copy)
    assert '"by a test"' in (copy / STATIC / "bindings.min.js").read_text()
    assert contents(copy).keys() == contents(ROOT).keys()  # no temporary file


def test_another_turbo_is_refused(hook: ModuleType, copy: Path, tmp_path: Path) -> None:
    """A module with another digest is named, and nothing of it is used."""
    tools = tmp_path / "tools"
    (tools / hook.TURBO).parent.mkdir(parents=True)
    (tools / hook.TURBO).write_text("something else")
    before = contents(copy)

    with pytest.raises(RuntimeError, match="is not the module that was pinned"):
        hook.add_turbo(copy, tools)

    assert contents(copy) == before


def test_a_changed_turbo_is_noticed(hook: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "turbo.js"

    assert not hook.is_pinned(path)
    path.write_text("something else")
    assert not hook.is_pinned(path)
    assert hook.is_pinned(ROOT / STATIC / "turbo.js")


def test_a_program_that_fails_is_told(hook: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as caught:
        hook.run("node", "nothing.mjs", cwd=tmp_path)

    assert str(caught.value).startswith("node nothing.mjs has failed:\n")


def test_every_package_is_pinned_by_its_integrity() -> None:
    """By SHA-512, and at no address: npm takes the registry that it is set up for."""
    lock = json.loads((ROOT / "bundle/package-lock.json").read_text())
    packages = [one for name, one in lock["packages"].items() if name]

    assert all(one["integrity"].startswith("sha512-") for one in packages)
    assert not any("resolved" in one for one in packages)
