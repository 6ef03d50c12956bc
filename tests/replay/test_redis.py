"""What only the replay log in Redis does: it outlives processes, and Redis does not."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import textwrap
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import pytest_asyncio
import redis as redis_py
from redis.exceptions import ResponseError

from tests.support.replay_backends import (
    moment_after,
    position,
    read_one,
    redis_log,
    send,
    texts,
)
from tests.support.servers import PATIENCE, Valkey, wait_until
from turbo.exceptions import ConfigurationError
from turbo.replay import Append, Appended, History
from turbo.replay.attempts import FAILED
from turbo.replay.clock import LIFETIME
from turbo.replay.redis import RedisReplay
from turbo.replay.texts import Put, Stored, TextPlace
from turbo.runtime.redis import aclients
from turbo.runtime.redis.aclients import Clients, ScriptCall
from turbo.runtime.redis.options import connection_options
from turbo.runtime.redis.script import Script

ROOM = "z7r3l7mdrbvujpqa35bauqyha7"
HALL = "a2k6onl3x4ykqyjvmcyyt7hb4e"

OUTAGE = (redis_py.RedisError, OSError)


@pytest_asyncio.fixture
async def log(valkey: Valkey) -> AsyncIterator[RedisReplay]:
    """A log whose clock is known."""
    log = redis_log(valkey)
    await log.sync_clock()
    yield log
    await log.aclose()


@pytest.fixture
def second(tmp_path: Path) -> Iterator[Valkey]:
    """A second server, for this test alone."""
    server = Valkey(tmp_path)
    server.start()
    yield server
    server.kill()


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000_000

    def __call__(self) -> int:
        return self.now


# --- The data


async def test_keys_of_a_stream_share_a_slot_and_expire(
    log: RedisReplay, valkey: Valkey
) -> None:
    """Nothing stays for ever, save one word about the server."""
    await send(log, ROOM, "a")
    await log.claim("refresh", seconds=5)
    await log.forbid(["ann"], seconds=7)

    with valkey.client() as client:
        ages = {key: client.pttl(key) for key in client.scan_iter()}
    assert ages.pop("turbo:server") == -1
    assert 86_400_000 < ages.pop(f"turbo:{{{ROOM}}}:meta") <= 86_700_000
    assert 299_000 < ages.pop(f"turbo:{{{ROOM}}}:log") <= 300_000
    assert sorted(key.rpartition(":")[2] for key in ages) == ["claim", "forbid"]
    assert all(0 < age <= 7_000 for age in ages.values())


async def test_a_text_whose_words_were_evicted_is_unknown(
    log: RedisReplay, valkey: Valkey
) -> None:
    """A server that lacks memory may take any key; the writer puts all of it again."""
    place = TextPlace(ROOM, "answer")
    [stored] = await log.texts.put([Put(place, "one", 0, 0, "abc", 3)])
    with valkey.client() as client:
        client.delete(*client.keys("turbo:*:words:*"))

    assert await log.texts.read([place]) == [None]
    put = Put(place, "one", stored.run, 3, "d", 4)
    assert await log.texts.put([put]) == [Stored(stored.run, 0)]


async def test_prefix_separates_logs(log: RedisReplay, valkey: Valkey) -> None:
    """Two sites may share a server."""
    other = redis_log(valkey, prefix="other")
    await other.sync_clock()

    await send(log, ROOM, "a")

    assert await other.tips([ROOM]) == [None]
    assert (await read_one(other, ROOM, log.moment())).complete is False
    await other.aclose()


async def test_two_processes_see_one_log(log: RedisReplay, valkey: Valkey) -> None:
    """What one appends the other reads, also by a moment of the first."""
    other = redis_log(valkey)
    since, moment = await position(log, ROOM), await moment_after(log, ROOM)

    await send(other, ROOM, "a")

    assert texts(await read_one(log, ROOM, since)) == ["a"]
    assert texts(await read_one(other, ROOM, moment)) == ["a"]
    assert other.moment() != "", "a read tells the clock"
    await other.aclose()


async def test_tips_keep_an_epoch_alive(log: RedisReplay, valkey: Valkey) -> None:
    """A stream that is watched keeps its position however long it is silent."""
    await send(log, ROOM, "a")
    with valkey.client() as client:
        client.expire(f"turbo:{{{ROOM}}}:meta", 5)

        await log.tips([ROOM])

        assert client.ttl(f"turbo:{{{ROOM}}}:meta") > 86_000


async def test_memory_prolongs_epochs(valkey: Valkey) -> None:
    """An epoch outlives the signed names of its pages."""
    log = redis_log(valkey, memory=1_000_000)

    await send(log, ROOM, "a")

    with valkey.client() as client:
        assert client.ttl(f"turbo:{{{ROOM}}}:meta") > 1_000_000
    await log.aclose()


# --- What Redis loses


async def test_emptied_server_begins_new_epochs(
    log: RedisReplay, valkey: Valkey
) -> None:
    """Neither a position nor a moment survives the data."""
    moment = log.moment()
    await send(log, ROOM, "a")
    since = await position(log, ROOM)

    valkey.flush()

    assert await log.tips([ROOM]) == [None]
    history = await read_one(log, ROOM, since)
    assert history == History(history.epoch, 0, complete=False)
    assert history.epoch != since.split(":")[0]
    assert not (await read_one(log, ROOM, moment)).complete
    assert (await read_one(log, ROOM, log.moment())).complete
    assert await log.append([Append(ROOM, "b")]) == [Appended(history.epoch, 1)]


async def test_overtaken_not_because_the_host_had_not_answered(
    log: RedisReplay,
) -> None:
    """Such a moment is not known, but no data are known to be lost."""
    [place] = await log.append([Append(ROOM, "a", "k", "me", "@1.-")])

    assert not place.overtaken


async def test_overtaken_when_the_data_were_lost_a_moment_ago(
    log: RedisReplay, valkey: Valkey
) -> None:
    """Regression: the log did not know yet that its server had been replaced."""
    moment = await moment_after(log, ROOM)
    valkey.kill()
    valkey.start()

    [place] = await log.append([Append(ROOM, "a", "k", "me", moment)])

    assert place.overtaken


async def test_a_process_that_has_just_started_is_not_overtaken(
    log: RedisReplay, valkey: Valkey
) -> None:
    await send(log, ROOM, "a")
    await moment_after(log, ROOM)
    new = redis_log(valkey, monotonic=Clock())

    moment = new.moment_of_change()
    [place] = await new.append([Append(ROOM, "b", "k", "me", moment)])

    assert not place.overtaken
    await new.aclose()


async def test_overtaken_when_the_data_were_lost_before_a_process_knew_its_server(
    log: RedisReplay, valkey: Valkey
) -> None:
    """What was lost may have been a newer message of another writer."""
    clock = Clock()
    new = redis_log(valkey, monotonic=clock)
    moment = new.moment_of_change()
    await send(log, ROOM, "newer")
    valkey.flush()
    await position(log, ROOM)
    clock.now += LIFETIME

    [place] = await new.append([Append(ROOM, "older", "k", "me", moment)])

    assert place.overtaken
    await new.aclose()


async def test_killed_server_begins_new_epochs(
    log: RedisReplay, valkey: Valkey
) -> None:
    """While it is away everything raises; then one goes on with the same object."""
    moment = log.moment()
    await send(log, ROOM, "a")
    since = await position(log, ROOM)
    valkey.kill()

    with pytest.raises(OUTAGE):
        await send(log, ROOM, "b")
    with pytest.raises(OUTAGE):
        await log.read([(ROOM, since)])
    with pytest.raises(OUTAGE):
        await log.sync_clock()
    assert log.moment() != "", "the clock ticks on"

    valkey.start()
    assert not (await read_one(log, ROOM, since)).complete
    assert not (await read_one(log, ROOM, moment)).complete
    since = await position(log, ROOM)
    await send(log, ROOM, "b")
    assert texts(await read_one(log, ROOM, since)) == ["b"]


async def test_server_restarted_from_an_old_dump_begins_new_epochs(
    second: Valkey,
) -> None:
    """What comes back from disk is older than what subscribers have seen."""
    log = redis_log(second)
    await log.sync_clock()
    await send(log, ROOM, "a")
    saved = await position(log, ROOM)
    with second.client() as client:
        client.save()
    moment = await moment_after(log, ROOM)
    await send(log, ROOM, "b")
    lost = await position(log, ROOM)

    second.kill()
    second.start()
    with second.client() as client:
        assert client.hget(f"turbo:{{{ROOM}}}:meta", "n") == "1", "the dump was read"

    assert await log.tips([ROOM]) == [None]
    for since in (saved, lost, moment):
        assert not (await read_one(log, ROOM, since)).complete
    [place] = await log.append([Append(ROOM, "c")])
    assert place.number == 1
    assert place.epoch not in saved
    assert await log.tips([ROOM]) == [(place.epoch, 1)]
    assert texts(await read_one(log, ROOM, await moment_after(log, ROOM))) == []
    await log.aclose()


@pytest.mark.parametrize("key", ["log", "meta"])
async def test_stream_of_which_a_key_was_evicted_is_incomplete(
    log: RedisReplay, valkey: Valkey, key: str
) -> None:
    """A server short of memory may drop one of the keys."""
    since, moment = await position(log, ROOM), await moment_after(log, ROOM)
    await send(log, ROOM, "a")
    with valkey.client() as client:
        client.delete(f"turbo:{{{ROOM}}}:{key}")

    assert not (await read_one(log, ROOM, since)).complete
    assert not (await read_one(log, ROOM, moment)).complete
    await send(log, ROOM, "b")
    assert not (await read_one(log, ROOM, moment)).complete


async def test_user_who_may_not_ask_for_the_process_is_served(valkey: Valkey) -> None:
    """Some servers refuse INFO; then only lost keys end an epoch."""
    with valkey.client() as client:
        client.execute_command(
            "ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-info"
        )
    address = valkey.url.replace("//", "//app:pw@")
    log = RedisReplay(hosts=[address])
    await log.sync_clock()

    moment = log.moment()
    await send(log, ROOM, "a")

    assert texts(await read_one(log, ROOM, moment)) == ["a"]
    assert await log.tips([ROOM]) != [None]
    assert not log.sees_failovers
    await log.aclose()
    with valkey.client() as client:
        client.execute_command("ACL", "DELUSER", "app")


async def test_idle_connection_that_was_closed_is_replaced(
    log: RedisReplay, valkey: Valkey
) -> None:
    """A restart, or a proxy that cuts what is idle, is not an outage afterwards."""
    since = await position(log, ROOM)
    with valkey.client() as client:
        for n in range(3):
            client.client_kill_filter(_type="normal", skipme=True)
            await send(log, ROOM, str(n))
            client.client_kill_filter(_type="normal", skipme=True)
            await log.sync_clock()
            client.client_kill_filter(_type="normal", skipme=True)
            await asyncio.gather(*(log.tips([ROOM]) for _ in range(20)))

    assert texts(await read_one(log, ROOM, since)) == ["0", "1", "2"]


# --- Scripts


async def test_scripts_are_sent_again_when_the_server_forgot_them(
    log: RedisReplay, valkey: Valkey
) -> None:
    since = await position(log, ROOM)
    with valkey.client() as client:
        client.script_flush()
        await send(log, ROOM, "a")
        client.script_flush()
        await log.append([Append(ROOM, "b"), Append(HALL, "x"), Append(ROOM, "c")])
        client.script_flush()

        assert texts(await read_one(log, ROOM, since)) == ["a", "b", "c"]


async def test_batch_is_one_pipeline(log: RedisReplay, valkey: Valkey) -> None:
    """Appending is one script; reading is one for each stream, and the clock."""
    batch = [Append(ROOM, "a"), Append(HALL, "b"), Append(ROOM, "c")]
    await log.append(batch)
    await log.read([(ROOM, ""), (HALL, "?")])
    with valkey.client() as client, client.monitor() as monitor:
        await log.append(batch)
        await log.read([(ROOM, ""), (HALL, "?")])
        client.echo("done")
        seen = []
        while (command := monitor.next_command())["command"] != "ECHO done":
            if command["client_type"] != "lua":
                seen.append(command["command"].partition(" ")[0])

    scripts = [name for name in seen if name.startswith("EVAL")]
    append, read, clock = ["EVALSHA"], ["EVALSHA"] * 2, ["EVALSHA"]
    assert scripts == append + read + clock


async def test_error_of_one_message_is_raised(log: RedisReplay, valkey: Valkey) -> None:
    """The others of its batch may be stored; a repetition does not store them twice."""
    since = await position(log, HALL)
    await send(log, ROOM, "x")
    with valkey.client() as client:
        client.set(f"turbo:{{{ROOM}}}:log", "not a stream")
        batch = [Append(HALL, "a"), Append(ROOM, "b")]
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            await log.append(batch)
        client.delete(f"turbo:{{{ROOM}}}:log")

    places = await log.append(batch)

    assert [place.number for place in places] == [1, 2]
    assert texts(await read_one(log, HALL, since)) == ["a"]


# --- Attempts of unknown outcome


async def test_append_that_timed_out_is_stored_once(valkey: Valkey) -> None:
    """The server may carry out what nobody waits for any more."""
    log = RedisReplay(hosts=[{"address": valkey.url, "socket_timeout": 1.0}])
    since = await position(log, ROOM)
    batch = [Append(ROOM, "a"), Append(ROOM, "b")]
    await send(log, HALL, "by which the server knows the script")

    valkey.pause()
    with pytest.raises(OUTAGE):
        await log.append(batch)
    valkey.resume()
    await send(log, ROOM, "c")
    places = await log.append(batch)

    assert [place.number for place in places] == [1, 2]
    assert texts(await read_one(log, ROOM, since)) == ["a", "b", "c"]
    again = await log.append(batch)
    assert [place.number for place in again] == [4, 5], "that was another message"
    await log.aclose()


async def test_append_that_was_cancelled_is_stored_once(
    log: RedisReplay, valkey: Valkey
) -> None:
    since = await position(log, ROOM)
    message = Append(ROOM, "a")
    valkey.pause()
    task = asyncio.create_task(log.append([message]))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    valkey.resume()

    await log.append([message])

    assert texts(await read_one(log, ROOM, since)) == ["a"]


async def test_attempts_that_nobody_repeats_are_forgotten(valkey: Valkey) -> None:
    """A long outage does not fill the memory."""
    log = redis_log(valkey)
    await log.sync_clock()
    valkey.kill()

    for _ in range(FAILED + 1):
        with pytest.raises(OUTAGE):
            await log.append([Append(ROOM, None)])

    assert len(log._attempts._failed) == FAILED
    await log.aclose()


# --- The clock


async def test_moment_is_not_known_before_the_first_answer(valkey: Valkey) -> None:
    log = redis_log(valkey)

    assert log.moment() == ""
    await log.sync_clock()
    assert log.moment().startswith("@")
    await log.aclose()


async def test_moment_is_not_known_when_the_last_answer_is_old(valkey: Valkey) -> None:
    clock = Clock()
    log = redis_log(valkey, monotonic=clock)
    await log.sync_clock()

    clock.now += LIFETIME
    assert log.moment() != ""
    clock.now += 1
    assert log.moment() == ""
    await log.aclose()


async def test_clock_set_back_ends_all_moments(valkey: Valkey) -> None:
    """What is sent now may be dated before a moment of some seconds ago."""
    clock = Clock()
    log = redis_log(valkey, monotonic=clock)
    await log.sync_clock()
    moment = log.moment()
    identity = moment.split(".")[1]
    clock.now += 10_000_000  # ours went on, the host's did not

    assert not (await read_one(log, ROOM, moment)).complete, "seen before the sync"
    await log.sync_clock()

    assert log.moment().split(".")[1] != identity
    assert not (await read_one(log, ROOM, moment)).complete
    assert (await read_one(log, ROOM, log.moment())).complete
    await log.aclose()


async def test_clock_that_keeps_time_keeps_its_identity(log: RedisReplay) -> None:
    before = log.moment()

    for _ in range(20):
        await log.sync_clock()

    assert log.moment().split(".")[1] == before.split(".")[1]


# --- Several hosts


async def test_streams_are_spread_over_the_hosts(
    valkey: Valkey, second: Valkey
) -> None:
    """A stream lies on one host, and every process looks for it there."""
    log = redis_log(valkey, second)
    await log.sync_clock()
    moment = log.moment()
    streams = [f"{n:026d}" for n in range(20)]

    await log.append([Append(stream, stream) for stream in streams])
    histories = await log.read([(stream, moment) for stream in streams])

    assert [texts(history) for history in histories] == [[s] for s in streams]
    assert all(await log.tips(streams))
    for server in (valkey, second):
        with server.client() as client:
            assert 0 < len(list(client.scan_iter("*:log"))) < 20
    await log.forbid(streams, seconds=60)
    assert all(await log.forbidden(streams))
    await log.aclose()


async def test_host_that_is_away_makes_only_its_streams_uncertain(
    valkey: Valkey, second: Valkey
) -> None:
    log = redis_log(valkey, second)
    streams = [f"{n:026d}" for n in range(20)]
    second.kill()
    with pytest.raises(OUTAGE):
        await log.sync_clock()
    moment = log.moment()
    second.start()

    histories = await log.read([(stream, moment) for stream in streams])

    assert moment.endswith(".-")
    decisions = {
        stream: h.complete for stream, h in zip(streams, histories, strict=True)
    }
    with valkey.client() as client:
        for stream, complete in decisions.items():
            assert complete == bool(client.exists(f"turbo:{{{stream}}}:meta"))
    assert set(decisions.values()) == {True, False}
    await log.aclose()


async def test_order_of_hosts_is_part_of_a_moment(
    valkey: Valkey, second: Valkey
) -> None:
    """A moment of other hosts proves nothing, also during a change of the setting."""
    one, two = redis_log(valkey), redis_log(valkey, second)
    await one.sync_clock()
    await two.sync_clock()

    assert not (await read_one(two, ROOM, one.moment())).complete
    assert not (await read_one(one, ROOM, two.moment())).complete
    await one.aclose()
    await two.aclose()


# --- Event loops


def test_loops_close_their_connections_when_they_end(valkey: Valkey) -> None:
    """A log outlives the loops that use it, and leaves nothing open in them."""
    log = redis_log(valkey)

    with valkey.client() as client:
        before = valkey.connections(client)
        for n in range(3):
            asyncio.run(send(log, ROOM, str(n)))
            wait_until(lambda: valkey.connections(client) <= before)
    gc.collect()

    assert len(log._hosts._clients._leases) == 0
    assert asyncio.run(read_one(log, ROOM, "")).tip == 3


def test_a_forgotten_log_keeps_its_connections_until_the_loop_ends(
    valkey: Valkey,
) -> None:
    """Changed settings make another log; the collector finds nothing left open."""

    async def use_and_forget(count: int) -> None:
        for _ in range(count):
            await send(redis_log(valkey), ROOM, "a")
            gc.collect()

    with warnings.catch_warnings(record=True) as said, valkey.client() as client:
        warnings.simplefilter("always")
        before = valkey.connections(client)
        asyncio.run(use_and_forget(3))
        gc.collect()

        wait_until(lambda: valkey.connections(client) <= before)
    assert [str(warning.message) for warning in said] == []


def test_loops_that_are_closed_without_more_ado_are_forgotten(valkey: Valkey) -> None:
    """Their connections cannot be closed any more, and need not be kept."""
    log = redis_log(valkey)
    kept = set(aclients._open)  # of other tests, perhaps
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(3):
            loop = asyncio.new_event_loop()
            loop.run_until_complete(send(log, ROOM, "a"))
            loop.close()
        asyncio.run(send(log, ROOM, "a"))
        del log, loop
        gc.collect()

    assert set(aclients._open) <= kept


async def test_aclose_may_come_twice_and_before_anything(valkey: Valkey) -> None:
    """And the log may be used again."""
    log = redis_log(valkey)
    await log.aclose()
    await send(log, ROOM, "a")
    await log.aclose()
    await log.aclose()

    await send(log, ROOM, "b")

    assert (await read_one(log, ROOM, "")).tip == 2
    await log.aclose()


async def test_connections_of_a_loop_are_bounded(
    log: RedisReplay, valkey: Valkey
) -> None:
    """A thousand tasks do not open a thousand connections."""
    await asyncio.gather(*(send(log, ROOM, "a") for _ in range(1_000)))

    with valkey.client() as client:
        names = [entry["lib-name"] for entry in client.client_list()]
    assert len(names) <= 12
    assert (await read_one(log, ROOM, "")).tip == 1_000


def test_fork_leaves_the_parents_connections_alone(valkey: Valkey) -> None:
    """A worker that was forked makes its own."""
    code = f"""
        import asyncio, os
        from django.conf import settings
        settings.configure()
        from turbo.replay import Append
        from turbo.replay.redis import RedisReplay

        log = RedisReplay(hosts=[{valkey.url!r}])

        async def append(text):
            [place] = await log.append([Append("room", text)])
            return place.number

        loop = asyncio.new_event_loop()
        print(loop.run_until_complete(append("parent")), flush=True)
        if (child := os.fork()) == 0:
            print(asyncio.run(append("child")), flush=True)
            os._exit(0)
        os.waitpid(child, 0)
        print(loop.run_until_complete(append("parent")))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    """
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
    )

    assert done.stdout.split() == ["1", "2", "3"], done.stderr
    assert "unclosed Connection" not in done.stderr


async def test_abandoned_clients_stay_open(valkey: Valkey) -> None:
    """In a forked process the clients of its parent are out of reach."""
    clients = Clients([{"address": valkey.url}])
    [parent] = await clients.get()
    echo = ScriptCall(0, Script("return KEYS[1]"), ("a",))
    await parent.run([echo])

    clients.abandon()
    [child] = await clients.get()

    assert child is not parent
    assert await child.run([echo]) == ["a"]
    await clients.aclose()
    assert await parent.run([echo]) == ["a"]
    await parent.aclose()


# --- Options


def test_connection_options_bound_every_wait() -> None:
    """The layer's own remedy, no time-out at all, is not ours."""
    given = {
        "address": "redis://x",
        "socket_timeout": None,
        "retry_on_error": [OSError],
    }

    options = connection_options(given)

    assert options["socket_timeout"] == 5.0
    assert options["socket_connect_timeout"] == 2.0
    assert "retry_on_error" not in options
    assert given["socket_timeout"] is None
    assert connection_options(given | {"socket_timeout": 1.5})["socket_timeout"] == 1.5


def test_connection_options_bound_the_waits_for_a_sentinel() -> None:
    given = {
        "sentinels": [("localhost", 26379)],
        "master_name": "mymaster",
        "sentinel_kwargs": {"password": "x", "socket_timeout": 1},
    }

    assert connection_options(given)["sentinel_kwargs"] == {
        "password": "x",
        "socket_timeout": 1,
        "socket_connect_timeout": 2.0,
        "socket_keepalive": True,
        "socket_keepalive_options": ANY,
    }
    del given["sentinel_kwargs"]
    assert connection_options(given)["sentinel_kwargs"]["socket_timeout"] == 5.0


def test_hosts_must_be_a_list() -> None:
    """The mistake that channels-redis names too."""
    with pytest.raises(ConfigurationError, match="list of Redis hosts"):
        RedisReplay(hosts="redis://localhost")


def test_check_names_a_host_that_cannot_work() -> None:
    """No network is needed to see that an address is none."""
    log = RedisReplay(hosts=["http://localhost", ("localhost", 6379)])

    [warning] = log.check()

    assert warning.id == "turbo.W020"
    assert "ValueError: Redis URL must specify" in warning.msg


@pytest.mark.parametrize("options", [{"length": 0}, {"age": 0}])
def test_nothing_to_keep_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="must be positive"):
        RedisReplay(hosts=None, **options)
