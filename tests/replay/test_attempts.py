"""An append may run twice and late, however late, and is stored once or as a gap."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio

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
from tests.support.servers import Valkey
from turbo.replay import Append, Appended
from turbo.replay.attempts import FAILED, Attempts
from turbo.replay.lua import PRODUCERS
from turbo.replay.positions import parse
from turbo.replay.redis import RedisReplay

ROOM = "z7r3l7mdrbvujpqa35bauqyha7"
HALL = "a2k6onl3x4ykqyjvmcyyt7hb4e"


@pytest.fixture(params=["valkey", pytest.param("redis", marks=pytest.mark.processes)])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Valkey]:
    if request.param == "valkey":
        yield request.getfixturevalue("valkey")
        return
    if not RedisServer.program:
        pytest.skip("no redis-server on this machine")
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest_asyncio.fixture
async def proxy(server: Valkey) -> AsyncIterator[Proxy]:
    async with Proxy(server.port) as proxy:
        yield proxy


@pytest_asyncio.fixture
async def log(server: Valkey) -> AsyncIterator[RedisReplay]:
    """The log of another process, which nothing disturbs."""
    log = redis_log(server)
    await log.sync_clock()
    await send(log, HALL, "x")  # the server knows the script from now on
    yield log
    await log.aclose()


@pytest_asyncio.fixture
async def far(log: RedisReplay, proxy: Proxy) -> AsyncIterator[RedisReplay]:
    """A log behind the proxy."""
    log = RedisReplay(hosts=[proxy.url])
    yield log
    await log.aclose()


async def lose_request(log: RedisReplay, batch: list[Append], proxy: Proxy) -> None:
    """Give an attempt up that has not arrived yet."""
    await log.sync_clock()  # a connection is there
    proxy.hold_requests()
    await _give_up(log, batch, proxy)


async def lose_answer(log: RedisReplay, batch: list[Append], proxy: Proxy) -> None:
    """Give an attempt up whose answer has not arrived yet."""
    await log.sync_clock()
    proxy.hold_answers()
    await _give_up(log, batch, proxy)


async def _give_up(log: RedisReplay, batch: list[Append], proxy: Proxy) -> None:
    task = asyncio.create_task(log.append(batch))
    await proxy.keeps.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    proxy.admit()


# --- Requests that arrive late


async def test_an_attempt_that_arrives_after_its_repetition_is_not_stored(
    far: RedisReplay, log: RedisReplay, proxy: Proxy
) -> None:
    """The kernel goes on delivering what nobody waits for any more."""
    since = await position(log, ROOM)
    batch = [Append(ROOM, "older")]
    await lose_request(far, batch, proxy)
    await far.append(batch)
    await send(log, ROOM, "newer")

    await proxy.deliver()

    assert texts(await read_one(log, ROOM, since)) == ["older", "newer"]


async def test_an_attempt_that_arrives_after_all_that_is_kept_is_not_stored(
    far: RedisReplay, log: RedisReplay, proxy: Proxy
) -> None:
    """The log keeps 100 messages, and remembers a batch for longer."""
    batch = [Append(ROOM, "older")]
    await lose_request(far, batch, proxy)
    await far.append(batch)
    await log.append([Append(ROOM, str(n)) for n in range(150)])

    await proxy.deliver()

    assert (await read_one(log, ROOM, "")).tip == 151


async def test_an_attempt_that_arrives_after_the_next_batch_is_not_stored(
    far: RedisReplay, log: RedisReplay, proxy: Proxy
) -> None:
    since = await position(log, ROOM)
    batch = [Append(ROOM, "first")]
    await lose_request(far, batch, proxy)
    await far.append(batch)
    await send(far, ROOM, "second", "third")

    await proxy.deliver()

    assert texts(await read_one(log, ROOM, since)) == ["first", "second", "third"]


async def test_an_attempt_that_arrives_before_its_repetition_is_stored_then(
    far: RedisReplay, log: RedisReplay, proxy: Proxy
) -> None:
    since = await position(log, ROOM)
    batch = [Append(ROOM, "a"), Append(ROOM, "b")]
    await lose_request(far, batch, proxy)
    await proxy.deliver()
    await send(log, ROOM, "c")

    places = await far.append(batch)

    assert [place.number for place in places] == [1, 2]
    assert texts(await read_one(log, ROOM, since)) == ["a", "b", "c"]


# --- Answers that get lost


async def test_a_batch_longer_than_the_log_is_stored_once(
    far: RedisReplay, log: RedisReplay, proxy: Proxy
) -> None:
    """Neither the batch nor what others send meanwhile fits into what is kept."""
    batch = [Append(ROOM, str(n)) for n in range(256)]
    await lose_answer(far, batch, proxy)
    await log.append([Append(ROOM, str(n)) for n in range(256)])

    places = await far.append(batch)

    assert [place.number for place in places] == list(range(1, 257))
    assert (await read_one(log, ROOM, "")).tip == 512


async def test_an_answer_that_was_lost_is_given_again(
    far: RedisReplay, log: RedisReplay, proxy: Proxy
) -> None:
    """Who was overtaken learns it, even if another batch of others came between."""
    moment = await moment_after(log, ROOM)
    await log.append([Append(ROOM, "newer", "k", "other")])
    batch = [Append(ROOM, "older", "k", "me", moment)]
    await lose_answer(far, batch, proxy)
    await send(log, ROOM, "x")

    [place] = await far.append(batch)

    assert (place.number, place.overtaken) == (2, True)


async def test_batches_that_fail_at_the_same_time_are_stored_once_each(
    far: RedisReplay, log: RedisReplay, proxy: Proxy
) -> None:
    since = await position(log, ROOM)
    batches = [[Append(ROOM, "same")] for _ in range(3)]
    for batch in batches:
        await lose_answer(far, batch, proxy)

    for batch in reversed(batches):
        await far.append(batch)

    assert texts(await read_one(log, ROOM, since)) == ["same"] * 3


# --- What the log has forgotten


async def test_the_producers_of_a_stream_are_bounded(
    far: RedisReplay, log: RedisReplay, proxy: Proxy, server: Valkey
) -> None:
    """An attempt of one that was forgotten ends in a gap."""
    batch = [Append(ROOM, "older")]
    await lose_request(far, batch, proxy)
    await far.append(batch)
    for _ in range(PRODUCERS):
        log._attempts = Attempts()  # as another process
        await send(log, ROOM, "newer")
    with server.client() as client:
        assert client.hlen(f"turbo:{{{ROOM}}}:meta") <= PRODUCERS + 6
    since = await position(log, ROOM)

    await proxy.deliver()

    assert texts(await read_one(log, ROOM, since)) == [None]


async def test_a_repetition_in_a_new_epoch_is_stored_as_a_gap(server: Valkey) -> None:
    """Whether it was stored in the old one is not known."""
    clock = count(0, -6_000_000)  # seen from the log, six seconds pass each time
    log = redis_log(server, monotonic=lambda: next(clock))
    batch = [Append(ROOM, "a"), Append(ROOM, "b")]

    places = await log.append(batch)

    epoch = places[0].epoch
    assert places == [Appended(epoch, 1, is_gap=True), Appended(epoch, 2, is_gap=True)]
    since = f"{epoch}:0"
    assert texts(await read_one(log, ROOM, since)) == [None, None]
    await log.aclose()


# --- Revocations


async def test_a_revocation_that_arrives_late_leaves_what_was_permitted_since(
    far: RedisReplay, log: RedisReplay, proxy: Proxy
) -> None:
    await far.sync_clock()
    proxy.hold_requests()
    task = asyncio.create_task(far.forbid(["ann"], seconds=60))
    await proxy.keeps.wait()
    not_later = far._hosts.ceiling(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    proxy.admit()
    await far.forbid(["ann"], seconds=60)
    [revoked] = await log.forbidden(["ann"])
    assert revoked is not None
    before = max(not_later, revoked)
    while (permitted := parse(log.moment())).time <= before:  # noqa: ASYNC110
        await asyncio.sleep(0.005)

    await proxy.deliver()

    [revoked] = await log.forbidden(["ann"])
    assert revoked is not None
    assert revoked < permitted.time


# --- The producers of a process


def test_a_batch_that_failed_keeps_its_number() -> None:
    attempts = Attempts()
    one, two = [Append(ROOM, "a")], [Append(ROOM, "a")]

    first = attempts.begin(one, lambda: [7])
    attempts.fail(first)
    second = attempts.begin(two, lambda: [8])
    attempts.succeed(second)
    third = attempts.begin(two, lambda: [9])

    assert attempts.begin(one, lambda: [9]) is first
    assert second.producer != first.producer
    assert (third.producer, third.number) == (second.producer, second.number + 1)


def test_batches_that_nobody_repeats_are_forgotten() -> None:
    """A long outage does not fill the memory."""
    attempts = Attempts()

    for _ in range(FAILED + 1):
        attempts.fail(attempts.begin([Append(ROOM, None)], lambda: [0]))

    assert len(attempts._failed) == FAILED


def test_a_forked_process_has_its_own_producers() -> None:
    attempts = Attempts()
    attempts.succeed(attempts.begin([], lambda: []))
    attempts.fail(attempts.begin([Append(ROOM, "a")], lambda: []))

    if (child := os.fork()) == 0:
        os._exit(len(attempts._idle) + len(attempts._failed))
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
