"""A former master that is master again does not go on where it was interrupted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.exceptions import ReadOnlyError

from tests.support.proxies import Proxy
from tests.support.replay_backends import (
    RedisServer,
    moment_after,
    position,
    read_one,
    redis_log,
    send,
    texts,
)
from tests.support.replicas import follow, promote, start_pair
from tests.support.servers import Valkey
from turbo.replay.redis import RedisReplay

ROOM = "z7r3l7mdrbvujpqa35bauqyha7"

pytestmark = pytest.mark.slow


@pytest.fixture(params=[Valkey, pytest.param(RedisServer, marks=pytest.mark.processes)])
def servers(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Valkey, Valkey]]:
    """A master and its replica."""
    if request.param is RedisServer and not RedisServer.program:
        pytest.skip("no redis-server on this machine")
    started = start_pair(request.param, tmp_path)
    yield started
    for server in started:
        server.kill()


@pytest_asyncio.fixture
async def proxy(servers: tuple[Valkey, Valkey]) -> AsyncIterator[Proxy]:
    """The one address of the master."""
    async with Proxy(servers[0].port) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def log(proxy: Proxy) -> AsyncIterator[RedisReplay]:
    log = RedisReplay(hosts=[proxy.url])
    await log.sync_clock()
    yield log
    await log.aclose()


async def test_what_was_sent_before_a_failover_is_not_complete_after_the_failback(
    log: RedisReplay, proxy: Proxy, servers: tuple[Valkey, Valkey]
) -> None:
    """The streams that nobody used meanwhile have their old epoch in the data."""
    first, second = servers
    before = log.moment()
    await send(log, ROOM, "a")
    saved = await position(log, ROOM)
    follow(second, first)

    promote(second)
    await send(log, ROOM, "lost")
    lost = await position(log, ROOM)
    follow(first, second)
    promote(first)

    await send(log, ROOM, "b")
    epoch, number = (await position(log, ROOM)).split(":")
    assert epoch != lost.split(":")[0]
    assert number == "1"
    for since in (before, saved, lost):
        assert not (await read_one(log, ROOM, since)).complete
    moment = await moment_after(log, ROOM)
    await send(log, ROOM, "c")
    assert texts(await read_one(log, ROOM, moment)) == ["c"]


async def test_a_failover_that_loses_nothing_begins_new_epochs_too(
    log: RedisReplay, proxy: Proxy, servers: tuple[Valkey, Valkey]
) -> None:
    """Nobody can prove that nothing was lost."""
    first, second = servers
    await send(log, ROOM, "a")
    since = await position(log, ROOM)
    follow(second, first)

    promote(second)
    follow(first, second)
    proxy.upstream = second.port

    assert await log.tips([ROOM]) == [None]
    assert not (await read_one(log, ROOM, since)).complete


async def test_a_replica_is_not_asked(
    log: RedisReplay, servers: tuple[Valkey, Valkey]
) -> None:
    """What a replica knows of revocations may be old."""
    await log.forbid(["ann"], seconds=60)
    follow(servers[1], servers[0])
    replica = redis_log(servers[1])

    with pytest.raises(ReadOnlyError):
        await replica.forbidden(["ann"])
    with pytest.raises(ReadOnlyError):
        await replica.tips([ROOM])
    with pytest.raises(ReadOnlyError):
        await replica.read([(ROOM, "")])
    await replica.aclose()
