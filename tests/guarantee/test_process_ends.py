"""A process that ends has sent what it has broadcast, however it ends."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.project.ends import NAME, WAYS
from tests.support.servers import PATIENCE, ROOT
from turbo.database.models import LogMessage
from turbo.delivery.names import stream_id


def in_redis(request: pytest.FixtureRequest) -> list[str]:
    with request.getfixturevalue("valkey").client() as client:
        entries = client.xrange(f"turbo:{{{stream_id(NAME)}}}:log")
    return [fields["d"] for _, fields in entries]


def in_sqlite(request: pytest.FixtureRequest) -> list[str]:
    rows = LogMessage.objects.using("sqlite").filter(sid=f"turbo:{stream_id(NAME)}")
    return [bytes(data).decode() for data in rows.values_list("data", flat=True)]


@pytest.mark.parametrize(
    ("layer", "sent"), [("redis", in_redis), ("sqlite", in_sqlite)]
)
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_lost_at_the_end(
    way: str,
    layer: str,
    sent: Callable[[pytest.FixtureRequest], list[str]],
    request: pytest.FixtureRequest,
    make_project: Callable[..., Any],
) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.project.ends", way],
        env=make_project(layer).env,
        cwd=ROOT,
        timeout=PATIENCE,
        capture_output=True,
        text=True,
    )

    assert done.returncode == (way == "exception"), done.stderr
    assert sorted(sent(request)) == WAYS[way][1]
