"""A process that ends has sent what it has broadcast, however it ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.project.ends import NAME, WAYS
from tests.support.servers import PATIENCE, ROOT
from turbo.delivery.names import stream_id


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_lost_at_the_end(
    way: str, valkey: Any, make_project: Callable[..., Any]
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.project.ends", way],
        env=make_project("redis").env,
        cwd=ROOT,
        timeout=PATIENCE,
        capture_output=True,
        text=True,
    )

    assert done.returncode == (way == "exception"), done.stderr
    with valkey.client() as client:
        entries = client.xrange(f"turbo:{{{stream_id(NAME)}}}:log")
    assert sorted(fields["d"] for _, fields in entries) == WAYS[way][1]
