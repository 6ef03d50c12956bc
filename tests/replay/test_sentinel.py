"""The replay log behind Sentinel, and what a failover does to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis as redis_py
from django.test import override_settings

from tests.support.full import for_full_runs
from tests.support.replay_backends import moment_after, position, read_one, send, texts
from tests.support.servers import PATIENCE, Valkey, wait_until
from tests.testapp.streams import Announcements
from turbo.delivery.broadcast import flush, shut_down
from turbo.replay import Append, ReplayLog, get_replay
from turbo.replay.redis import RedisReplay
from turbo.replay.texts import StoredText, TextPlace

ROOM = "z7r3l7mdrbvujpqa35bauqyha7"
OUTAGE = (redis_py.RedisError, OSError)

_CONFIG = """\
port {port}
bind 127.0.0.1
dir {directory}
sentinel monitor rooms 127.0.0.1 {master} 1
sentinel down-after-milliseconds rooms 300
sentinel failover-timeout rooms 2000
"""


class Sentinel(Valkey):
    """A sentinel that watches a master by the name of ``rooms``."""

    def __init__(self, directory: Path, master: Valkey) -> None:
        super().__init__(directory)
        path = directory / "sentinel.conf"
        path.write_text(
            _CONFIG.format(port=self.port, directory=directory, master=master.port)
        )
        self.command[1:] = [str(path), "--sentinel"]

    def master(self) -> dict[str, Any]:
        """Return what the sentinel knows of the master."""
        with self.client() as client:
            known: dict[str, Any] = client.sentinel_master("rooms")
        return known


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start a server in a directory of its own."""
    servers: list[Valkey] = []

    def start(server_class: type[Valkey], *arguments: Any) -> Valkey:
        directory = tmp_path / str(len(servers))
        directory.mkdir()
        server = server_class(directory, *arguments)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.kill()


async def until_answered(log: ReplayLog, message: Append) -> int:
    """Append as the publisher does, again and again, and return the number."""
    while True:
        try:
            [place] = await log.append([message])
        except OUTAGE:
            await asyncio.sleep(0.05)
        else:
            return place.number


class Watched(NamedTuple):
    """A master and its replica, and the sentinel that watches them."""

    master: Valkey
    replica: Valkey
    sentinel: Sentinel

    @property
    def host(self) -> dict[str, Any]:
        """What goes into ``REPLAY_HOSTS``."""
        sentinels = [("127.0.0.1", self.sentinel.port)]
        return {"sentinels": sentinels, "master_name": "rooms"}

    def until_failover(self) -> None:
        """Wait until the replica is the master."""
        port = self.replica.port
        wait_until(lambda: int(self.sentinel.master()["port"]) == port, what="failover")


@pytest.fixture
def watched(start: Callable[..., Any]) -> Watched:
    master, replica = start(Valkey), start(Valkey)
    with replica.client() as client:
        client.replicaof("127.0.0.1", master.port)
        wait_until(lambda: client.info("replication")["master_link_status"] == "up")
    sentinel = start(Sentinel, master)
    wait_until(lambda: int(sentinel.master()["num-slaves"]) == 1, what="one replica")
    return Watched(master, replica, sentinel)


@pytest.mark.slow
async def test_failover_begins_new_epochs(watched: Watched) -> None:
    """The new master may lack what the old one had confirmed."""
    master, replica = watched.master, watched.replica
    log = RedisReplay(hosts=[watched.host])
    assert log.check() == []
    await log.sync_clock()
    before = log.moment()
    await send(log, ROOM, "a")
    since = await position(log, ROOM)
    with replica.client() as client:
        wait_until(lambda: bool(client.exists(f"turbo:{{{ROOM}}}:log")), what="a copy")

    master.kill()
    watched.until_failover()
    number = await until_answered(log, Append(ROOM, "b"))

    assert number == 1
    assert not (await read_one(log, ROOM, since)).complete
    assert not (await read_one(log, ROOM, before)).complete
    moment = await moment_after(log, ROOM)
    await send(log, ROOM, "c")
    assert texts(await read_one(log, ROOM, moment)) == ["c"]
    await log.aclose()


@for_full_runs
@pytest.mark.slow
def test_a_text_goes_on_after_a_failover(watched: Watched) -> None:
    """The new master lacks a part that the old one had confirmed."""
    place = TextPlace(Announcements().stream_id, "answer")

    def stored() -> StoredText:
        assert flush(PATIENCE)
        [written] = asyncio.run(get_replay().texts.read([place]))
        assert written is not None
        return written

    backend = "turbo.replay.redis.RedisReplay"
    turbo = {"REPLAY_BACKEND": backend, "REPLAY_HOSTS": [watched.host]}
    with override_settings(TURBO=turbo):
        with Announcements().text(id="answer") as text:
            text.write("before 😀, ")
            first = stored()
            with watched.replica.client() as client:
                wait_until(lambda: client.dbsize() > 0, what="a copy")
                # It gets no more copies.
                client.replicaof("127.0.0.1", watched.replica.port)
            text.write("confirmed, ")
            stored()

            watched.master.kill()
            text.write("meanwhile, ")
            watched.until_failover()
            text.write("after")
        last = stored()
        shut_down(PATIENCE)

    assert (last.data, last.state) == (text.text, "finished")
    assert last.data == "before 😀, confirmed, meanwhile, after"
    assert last.run == first.run
