"""The replay log in a Redis cluster whose slots move and whose masters fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.exceptions import AskError, MovedError, RedisError, TryAgainError

from tests.support.cluster import Cluster, ask, node_id, slot_of
from tests.support.replay_backends import (
    RedisServer,
    moment_after,
    position,
    read_one,
    redis_log,
    send,
    texts,
)
from tests.support.servers import Valkey, free_port
from turbo.replay import Append
from turbo.replay.redis import RedisReplay

ROOM = "z7r3l7mdrbvujpqa35bauqyha7"
#: Streams of which several are in each part.
STREAMS = [f"{ROOM[:-2]}{number:02}" for number in range(40)]

pytestmark = pytest.mark.slow


@pytest.fixture(
    scope="module",
    params=[Valkey, pytest.param(RedisServer, marks=pytest.mark.processes)],
)
def cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Two masters."""
    if request.param is RedisServer and not RedisServer.program:
        pytest.skip("no redis-server on this machine")
    cluster = Cluster(tmp_path_factory.mktemp("cluster"), request.param, masters=2)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


@pytest_asyncio.fixture
async def log(cluster: Cluster) -> AsyncIterator[RedisReplay]:
    for node in cluster.nodes:
        node.flush()
    log = RedisReplay(hosts=[cluster.host])
    await log.sync_clock()
    yield log
    await log.aclose()


def slot(log: RedisReplay) -> int:
    """Return the slot of the stream."""
    return slot_of(log._keys(ROOM)[0])


def move(cluster: Cluster, log: RedisReplay) -> None:
    """Move the stream's slot to the other node."""
    [target] = [n for n in cluster.nodes if n is not cluster.owner(slot(log))]
    cluster.move(slot(log), target)


async def test_streams_are_on_all_nodes(cluster: Cluster, log: RedisReplay) -> None:
    await log.append([Append(stream, "a") for stream in STREAMS])

    for node in cluster.nodes:
        with node.client() as client:
            assert client.keys("turbo:*:log")
    assert await log.tips(STREAMS) != [None] * len(STREAMS)


async def test_nodes_that_are_not_in_the_settings_are_found(cluster: Cluster) -> None:
    known = {
        "cluster": [("127.0.0.1", free_port()), ("127.0.0.1", cluster.nodes[0].port)]
    }
    log = RedisReplay(hosts=[known])
    assert log.check() == []

    await log.append([Append(stream, "a") for stream in STREAMS])
    await log.aclose()


async def test_a_slot_that_has_moved_begins_new_epochs(
    cluster: Cluster, log: RedisReplay
) -> None:
    """The clock of another node is another clock."""
    before = log.moment()
    await send(log, ROOM, "a")
    since = await position(log, ROOM)

    move(cluster, log)

    assert await log.tips([ROOM]) == [None]
    for place in (before, since):
        assert not (await read_one(log, ROOM, place)).complete
    moment = await moment_after(log, ROOM)
    await send(log, ROOM, "b")
    assert texts(await read_one(log, ROOM, moment)) == ["b"]


async def test_a_slot_that_comes_back_does_not_go_on_with_old_moments(
    cluster: Cluster, log: RedisReplay
) -> None:
    """What was sent to the other node meanwhile would be missing."""
    await send(log, ROOM, "a")
    before = await moment_after(log, ROOM)

    move(cluster, log)
    attempt = log._attempts.begin([], log._hosts.floors)
    share = (ROOM, [Append(ROOM, "b")])
    await log._hosts.ask([log._append_call(attempt, log._hosts.index(ROOM), [share])])
    move(cluster, log)

    assert not (await read_one(log, ROOM, before)).complete


async def test_while_a_slot_moves_a_call_waits(
    cluster: Cluster, log: RedisReplay
) -> None:
    """It fails, and succeeds when it is made again after the move."""
    source = cluster.owner(slot(log))
    [target] = [n for n in cluster.nodes if n is not source]
    ask(target, "SETSLOT", slot(log), "IMPORTING", node_id(source))
    ask(source, "SETSLOT", slot(log), "MIGRATING", node_id(target))

    with pytest.raises((AskError, TryAgainError)):
        await log.append([Append(ROOM, "a")])

    for node in cluster.nodes:
        ask(node, "SETSLOT", slot(log), "STABLE")
    await log.append([Append(ROOM, "a")])


async def test_a_plain_connection_to_a_cluster_says_where_the_stream_is(
    cluster: Cluster,
) -> None:
    """Each node has a part of the streams only, so ``cluster`` has to be set."""
    log = redis_log(cluster.nodes[0])

    with pytest.raises(MovedError):
        await log.append([Append(stream, "a") for stream in STREAMS])
    await log.aclose()


async def test_a_master_that_fails_is_replaced(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, Valkey, masters=3, replicas=True)
    try:
        await asyncio.to_thread(cluster.start)
        log = RedisReplay(hosts=[cluster.host])
        await log.sync_clock()
        await send(log, ROOM, "a")
        since = await position(log, ROOM)

        await asyncio.to_thread(cluster.owner(slot(log)).kill)
        while True:
            try:
                history = await read_one(log, ROOM, since)
                break
            except (OSError, RedisError):
                await asyncio.sleep(0.1)

        assert not history.complete
        await log.aclose()
    finally:
        cluster.kill()
