"""PostgreSQL may crash, or keep the log waiting: nothing that was sent is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from asgiref.sync import sync_to_async
from pytest_django import DjangoDbBlocker

from tests.support.clients import LivePage
from tests.support.databases import make_tables
from tests.support.servers import NoPostgres, Postgres
from tests.testapp.streams import Counter

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("same_layer"),
    pytest.mark.parametrize("layer", ["postgres"]),
]

COUNT = 120


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server that no other test uses."""
    try:
        server = Postgres()
    except NoPostgres as reason:
        pytest.skip(str(reason))
    yield server
    server.close()


@pytest.fixture(scope="module")
def _postgres_database(
    postgres: Postgres, django_db_blocker: DjangoDbBlocker
) -> dict[str, Any]:
    settings = postgres.create("tables")
    with django_db_blocker.unblock():
        make_tables("postgres", settings)
    return settings


async def everything_arrives(
    server: Any, between: Callable[[], Any], *, at: int = COUNT // 3
) -> None:
    """Send to ten pages, and let something happen meanwhile."""
    streams = [Counter(n) for n in range(5)]
    pages = [
        LivePage(server.ws_url, streams[n % 5].signed_stream_name) for n in range(10)
    ]
    await asyncio.gather(*(page.__aenter__() for page in pages))
    for n in range(COUNT):
        for stream in streams:
            stream.append(text=str(n), id="list")
        await asyncio.sleep(0.01)
        if n == at:
            await between()
    await asyncio.gather(
        *(page.until(lambda p=page: len(p.data) >= COUNT) for page in pages)
    )
    for page in pages:
        await page.__aexit__()

    assert sum(page.gaps + page.doubled for page in pages) == 0
    for page in pages:
        assert [f">{n}<" in data for n, data in enumerate(page.data)] == [True] * COUNT


async def test_a_crash_of_the_server(
    layer: str,
    postgres: Postgres,
    make_project: Callable[..., Any],
    daphne: Callable[..., Any],
) -> None:
    """The end of one of its processes is the end of all connections."""
    server = daphne(make_project(layer))

    def crash() -> None:
        query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'"
        with psycopg.connect(postgres.dsn()) as connection:
            row = connection.execute(query).fetchone()
        assert row is not None
        os.kill(row[0], signal.SIGKILL)

    await everything_arrives(server, sync_to_async(crash))


async def test_tables_that_somebody_has_locked(
    layer: str,
    postgres: Postgres,
    make_project: Callable[..., Any],
    daphne: Callable[..., Any],
) -> None:
    """A backup or a migration may hold a lock for long."""
    server = daphne(make_project(layer))
    locking = await psycopg.AsyncConnection.connect(postgres.dsn("tables"))

    async def lock() -> None:
        await locking.execute("LOCK TABLE turbo_database_logstream")
        unlocking.append(asyncio.ensure_future(unlock()))

    async def unlock() -> None:
        async with await psycopg.AsyncConnection.connect(postgres.dsn()) as watching:
            query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while not (await watching.execute(query)).rowcount:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.5)  # so that the messages of some batches wait
        await locking.rollback()

    unlocking: list[asyncio.Future[None]] = []
    await everything_arrives(server, lock)
    await asyncio.gather(*unlocking)
    await locking.close()
