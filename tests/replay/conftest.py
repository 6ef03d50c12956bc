"""The backends of the replay log, for the tests of what all of them do."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.support.replay_backends import (
    ClusterNode,
    MakeLog,
    RedisServer,
    redis_log,
)
from tests.support.servers import DATABASES, Valkey
from turbo.database.replay import DatabaseReplay
from turbo.replay import ReplayLog
from turbo.replay.memory import MemoryReplay
from turbo.replay.redis import RedisReplay

BACKENDS = [
    "memory",
    "valkey",
    pytest.param("redis", marks=pytest.mark.processes),
    pytest.param("cluster", marks=pytest.mark.processes),
    "sqlite",
    pytest.param("postgres", marks=pytest.mark.processes),
]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The servers that the tests of this module have asked for, by backend."""
    running: dict[str, Any] = {}
    yield running
    for server in running.values():
        server.kill()


def _memory_log(**options: Any) -> ReplayLog:
    return MemoryReplay(**options)


@pytest.fixture(params=BACKENDS)
def make_log(
    request: pytest.FixtureRequest,
    servers: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> MakeLog:
    """Make a log: ``make_log(length=3)``."""
    backend = request.param
    if backend == "memory":
        return _memory_log
    if backend in DATABASES:
        request.getfixturevalue(f"{backend}_tables")
        return partial(DatabaseReplay, alias=backend)
    if backend == "redis" and not RedisServer.program:
        pytest.skip("no redis-server on this machine")
    classes = {"valkey": Valkey, "redis": RedisServer, "cluster": ClusterNode}
    if backend not in servers:
        servers[backend] = classes[backend](tmp_path_factory.mktemp(backend))
        servers[backend].start()
    servers[backend].flush()

    def make(**options: Any) -> ReplayLog:
        if backend == "cluster":
            return RedisReplay(hosts=[servers[backend].host], **options)
        return redis_log(servers[backend], **options)

    return make
