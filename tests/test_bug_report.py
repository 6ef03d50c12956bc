"""The file that reproduces a report runs by itself, and says where it ran."""

from __future__ import annotations

import ast
import os
import platform
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.documents import DOCS, ROOT
from tests.support.servers import PATIENCE

pytestmark = pytest.mark.processes

SOURCE = (ROOT / "bug_report.py").read_text()
REFERENCE = "\n".join(page.read_text() for page in DOCS.glob("reference/*.rst"))


def run(directory: Path, source: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a report away from this checkout."""
    patient = re.sub(r"(?m)^PATIENCE = .*", f"PATIENCE = {PATIENCE}", source)
    path = directory / "bug_report.py"
    path.write_text(patient)
    return subprocess.run(
        [sys.executable, path.name],
        cwd=directory,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
    )


@pytest.mark.parametrize("layer", ["InMemoryChannelLayer", "RedisPubSubChannelLayer"])
def test_it_passes_and_prints_the_versions(
    layer: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    needs_redis = layer.startswith("Redis")
    url = request.getfixturevalue("valkey").url if needs_redis else ""

    done = run(tmp_path, SOURCE, REDIS_URL=url)

    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert lines[0].startswith(f"python {platform.python_version()} on ")
    assert lines[1:7] == [
        f"{name} {version(name)}"
        for name in (
            *("django", "channels", "channels-redis", "redis", "daphne"),
            "django-turbo-streams",
        )
    ]
    assert lines[7].startswith("channel layer: ")
    assert lines[7].endswith(layer)
    assert lines[-1] == "The test has passed."


def test_a_report_that_shows_a_bug_says_what_came_instead(tmp_path: Path) -> None:
    source = SOURCE.replace("<template>Good bye", "<template>Goodbye")

    done = run(tmp_path, source)

    assert done.returncode == 1
    assert "<template>Good bye</template></turbo-stream>" in done.stdout
    assert done.stdout.endswith("The test has failed.\n")


def test_it_uses_only_public_names() -> None:
    names = [
        alias.name
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("turbo")
        for alias in node.names
    ]
    names += re.findall(r"\bturbo\.([A-Z]\w+|\w+(?=\())", SOURCE)

    assert {"TurboStreamsConsumer", "ModelStream", "suppress", "flush"} <= set(names)
    assert [name for name in names if name not in REFERENCE] == []


def test_it_is_in_the_source_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    included = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]

    assert "/bug_report.py" in included
