"""A connection that has become useless is replaced, whatever makes it useless."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
import redis as redis_py
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError

from tests.support.proxies import Proxy
from tests.support.servers import Valkey
from turbo.runtime.redis.aclients import Clients, ScriptCall
from turbo.runtime.redis.clients import Host
from turbo.runtime.redis.script import Script, is_elsewhere, was_dead

WRITE = Script("return redis.call('INCR', KEYS[1])")
INCREMENT = ScriptCall(0, WRITE, ("number",))
OUTAGE = (redis_py.RedisError, OSError)


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Valkey]:
    server = Valkey(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest_asyncio.fixture
async def proxy(valkey: Valkey) -> AsyncIterator[Proxy]:
    async with Proxy(valkey.port) as proxy:
        yield proxy


@pytest.fixture
def replica(proxy: Proxy, valkey: Valkey, second: Valkey) -> Iterator[Valkey]:
    """A server that is the master now; the former one is its replica."""
    yield second
    with valkey.client() as client:
        client.execute_command("REPLICAOF", "NO", "ONE")


def fail_over(proxy: Proxy, old: Valkey, new: Valkey) -> None:
    """Let ``old`` follow ``new``, to which the address leads from now on."""
    with old.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", new.port)
    proxy.upstream = new.port


async def test_a_master_that_became_a_replica_is_left(
    proxy: Proxy, valkey: Valkey, replica: Valkey
) -> None:
    """It keeps its connections, and refuses what is written."""
    clients = Clients([{"address": proxy.url}])
    [client] = await clients.get()
    await asyncio.gather(*(client.run([INCREMENT]) for _ in range(4)))

    fail_over(proxy, valkey, replica)

    assert await client.run([INCREMENT]) == [1]
    assert await client.run([INCREMENT]) == [2]
    await clients.aclose()


async def test_a_master_that_became_a_replica_is_left_by_threads(
    proxy: Proxy, valkey: Valkey, replica: Valkey
) -> None:
    host = Host({"address": proxy.url}, timeout=5.0)
    command = (WRITE, ["number"], ())
    await asyncio.to_thread(host.run, [command])

    fail_over(proxy, valkey, replica)

    with pytest.raises(ReadOnlyError):
        await asyncio.to_thread(host.run, [command])
    assert await asyncio.to_thread(host.run, [command]) == [1]


@pytest.mark.slow
async def test_connections_that_nobody_answers_are_dropped_together(
    proxy: Proxy,
) -> None:
    """One of them shows what has become of the others."""
    clients = Clients([{"address": proxy.url}])
    [client] = await clients.get()
    await asyncio.gather(*(client.run([INCREMENT]) for _ in range(8)))
    proxy.hold_requests()
    proxy.admit()

    with pytest.raises(OUTAGE):
        await client.run([INCREMENT])

    replies = await asyncio.gather(*(client.run([INCREMENT]) for _ in range(8)))
    assert sorted(replies) == [[n] for n in range(9, 17)]
    await clients.aclose()


@pytest.mark.slow
async def test_connections_of_threads_that_nobody_answers_are_dropped_together(
    proxy: Proxy,
) -> None:
    host = Host({"address": proxy.url}, timeout=5.0)
    command = (WRITE, ["number"], ())
    threads = (asyncio.to_thread(host.run, [command]) for _ in range(8))
    await asyncio.gather(*threads)
    proxy.hold_requests()
    proxy.admit()

    with pytest.raises(OUTAGE):
        await asyncio.to_thread(host.run, [command])

    threads = (asyncio.to_thread(host.run, [command]) for _ in range(8))
    assert sorted(await asyncio.gather(*threads)) == [[n] for n in range(9, 17)]


@pytest.mark.parametrize(
    "reply",
    [
        ReadOnlyError("You can't write against a read only replica."),
        ResponseError("ERR Error running script: -READONLY You can't write"),
        MovedError("3999 127.0.0.1:6381"),
        ClusterDownError("The cluster is down"),
        MasterDownError("Link with MASTER is down"),
        BusyLoadingError("Redis is loading the dataset in memory"),
    ],
    ids=lambda reply: type(reply).__name__,
)
def test_replies_that_name_another_server_are_recognised(reply: Exception) -> None:
    assert is_elsewhere(reply)


@pytest.mark.parametrize("reply", [None, 1, "READONLY", ResponseError("WRONGTYPE")])
def test_other_replies_are_answers(reply: object) -> None:
    assert not is_elsewhere(reply)


@pytest.mark.parametrize(
    ("cause", "expected"),
    [(TimeoutError(errno.ETIMEDOUT, "given up"), True), (TimeoutError(), False)],
    ids=["by-the-kernel", "no-answer"],
)
def test_a_connection_that_the_kernel_gave_up_was_dead_before_it_was_used(
    cause: Exception, expected: bool
) -> None:
    """Redis' client raises the same exception when an answer does not come in time."""
    error = RedisTimeoutError("Timeout writing to socket")
    error.__context__ = cause

    assert was_dead(error) is expected
