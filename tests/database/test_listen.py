"""Messages arrive although nobody listens any more."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from django.db import OperationalError
from pytest_django import DjangoDbBlocker

from tests.support.databases import an_alias
from tests.support.servers import Postgres, Process, free_port
from turbo.database.layer import DatabaseLayer

pytestmark = pytest.mark.usefixtures("postgres_tables")

POOLER = shutil.which("pgbouncer")
POOLER_FILE = """
[databases]
pooled = host={host} dbname=tables user={user}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
user = {user}
"""


@contextmanager
def administrator(postgres: Postgres) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres.dsn("tables"), autocommit=True) as connection:
        yield connection


@pytest.fixture
def pooled(
    postgres: Postgres, tmp_path: Path, django_db_blocker: DjangoDbBlocker
) -> Iterator[str]:
    """The alias of the same database behind PgBouncer, which shares connections."""
    if POOLER is None:
        pytest.skip("no pgbouncer on this machine")
    settings, port = postgres.settings("tables"), free_port()
    file = tmp_path / "pgbouncer.ini"
    file.write_text(
        POOLER_FILE.format(host=settings["HOST"], user=settings["USER"], port=port)
    )
    file.chmod(0o644)
    server = Process([POOLER, str(file)], port=port, directory=tmp_path)
    if os.geteuid() == 0:
        for folder in (tmp_path, *tmp_path.parents[:3]):
            folder.chmod(0o755)
        server.command[1:1] = ["-u", "pgserver"]
    server.start()
    own = {"HOST": "127.0.0.1", "PORT": str(port), "NAME": "pooled"}
    disabled = {"DISABLE_SERVER_SIDE_CURSORS": True}
    with django_db_blocker.unblock(), an_alias("pooled", settings | own | disabled):
        yield "pooled"
    server.kill()


@pytest_asyncio.fixture
async def layer() -> AsyncIterator[Any]:
    layer = DatabaseLayer(alias="postgres")
    yield layer
    await layer.close_pools()


@pytest_asyncio.fixture
async def channel(layer: Any) -> str:
    return str(await layer.new_channel())


async def test_it_is_told_of_messages(layer: Any, channel: str) -> None:
    """No more than one look in a second is needed while nothing happens."""
    await layer.send(channel, {"n": 1})

    assert await layer.receive(channel) == {"n": 1}
    assert layer._listener._hears


async def test_a_connection_that_is_ended_listens_again(
    layer: Any, channel: str, postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    await layer.send(channel, {"n": 0})
    assert await layer.receive(channel) == {"n": 0}
    with administrator(postgres) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = 'tables' AND application_name = 'turbo'"
        )
        assert ended.rowcount > 0

    # What it sends with was ended as well; the publisher tries again, too.
    with pytest.raises(OperationalError):
        await layer.send(channel, {"n": 1})
    await layer.send(channel, {"n": 1})

    # A crash might have taken others with it.
    with pytest.raises(ConnectionError, match="gone"):
        await layer.receive(channel)
    assert await layer.receive(channel) == {"n": 1}
    lines = [r.getMessage() for r in caplog.records if r.name == "turbo.database"]
    assert [line.split(":")[0] for line in lines] == [
        "The channel layer cannot read the database",
        "The channel layer reads the database again.",
    ]


async def test_behind_a_pooler_it_looks(
    pooled: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A pooler gives each transaction another connection: nobody listens."""
    caplog.set_level(logging.INFO, "turbo.database")
    layer = DatabaseLayer(alias=pooled)

    channel = await layer.new_channel()
    await layer.send(channel, {"n": 1})

    assert await layer.receive(channel) == {"n": 1}
    assert layer._listener._hears is False
    assert "No notification of PostgreSQL arrives" in caplog.text
    await layer.close_pools()


async def test_who_was_not_told_connects_anew(
    pooled: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Something between may take the connection away from who listens."""
    layer = DatabaseLayer(alias=pooled)
    layer._listener._is_told = lambda *args: True  # type: ignore[method-assign]
    channel = await layer.new_channel()
    while not layer._listener._hears:  # noqa: ASYNC110 - nobody else tells
        await asyncio.sleep(0.001)
    del layer._listener._is_told

    while layer._listener._hears is not False:
        await layer.send(channel, {"n": 1})
        assert await layer.receive(channel) == {"n": 1}

    assert "PostgreSQL does not notify any more." in caplog.text
    await layer.close_pools()


async def test_it_need_not_listen(layer: Any) -> None:
    quiet = DatabaseLayer(alias="postgres", listen=False)
    channel = await quiet.new_channel()

    await layer.send(channel, {"n": 1})

    assert await quiet.receive(channel) == {"n": 1}
    assert not quiet._listener._hears
    await quiet.close_pools()


async def test_the_thread_ends_with_the_last_loop() -> None:
    layer = DatabaseLayer(alias="postgres", listen=False)
    threads = []

    def live() -> None:
        asyncio.run(layer.new_channel())
        threads.append(layer._listener._thread)

    await asyncio.to_thread(live)
    [thread] = threads
    await asyncio.to_thread(thread.join)

    assert layer._listener._thread is None
    assert await layer.new_channel()
