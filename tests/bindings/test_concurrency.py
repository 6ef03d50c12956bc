"""Eight processes write at random; afterwards everything is as the database says."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.bindings.clients import Follower
from tests.support.full import for_full_runs
from tests.support.servers import PATIENCE, Daphne, Project

WRITERS = 8
ROWS = 500

#: How long they write; ``nox --session full`` asks for half a minute.
SECONDS = float(os.environ.get("TURBO_SOAK_SECONDS", "2"))

CREATE = (
    "from tests.bindings.app.models import Product; import random;"
    "values = [Product(name=str(n), stock=n % 7 - 1, "
    "venue=random.choice(['store', 'online'])) for n in range({})];"
    "Product.objects.bulk_create(values)"
)


async def write(project: Project, on_the_way: Callable[[], None]) -> list[Any]:
    """Let all writers write; return what each has seen."""
    arguments = (str(WRITERS), str(SECONDS), str(project.directory))
    command = asyncio.ensure_future(
        asyncio.to_thread(
            project.manage, "write_randomly", *arguments, timeout=SECONDS + 2 * PATIENCE
        )
    )
    while not command.done():
        await asyncio.wait({command}, timeout=1)
        on_the_way()
    assert command.result() == ""
    paths = project.directory.glob("[0-9].json")
    return [json.loads(path.read_text()) for path in paths]


IN_DATABASE = {"BACKEND": "turbo.database.store.DatabaseStore"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("database", "settings"),
    [
        ("postgres", {}),
        pytest.param("postgres", {"BINDINGS": IN_DATABASE}, marks=for_full_runs),
        ("sqlite", {"BINDINGS": IN_DATABASE, "DATABASE": "other"}),
    ],
    ids=["redis", "postgres", "sqlite"],
)
async def test_whatever_the_interleaving_it_comes_out_right(
    make_project: Callable[..., Project],
    daphne: Callable[..., Daphne],
    database: str,
    settings: dict[str, Any],
) -> None:
    """The cache, its versions, and the clients that were connected all the time."""
    project = make_project("redis", database=database, TURBO=settings)
    project.shell(CREATE.format(ROWS))
    server = daphne(project, application="tests.bindings.asgi:application")
    paths = ["store", "store", "store", "ranking", "alphabet"]

    async with AsyncExitStack() as stack:
        followers = [
            await stack.enter_async_context(Follower(f"{server.ws_url}/{path}/"))
            for path in paths
        ]
        seen = await write(project, on_the_way=followers[0].cut)
        found = json.loads(await asyncio.to_thread(project.manage, "compare_bindings"))
        kinds = {"store": "StoreProducts", "ranking": "Ranking", "alphabet": "Alphabet"}
        for path, follower in zip(paths, followers, strict=True):
            version = found[kinds[path]]["version"]
            await follower.until(lambda f=follower, v=version: f.rows.version == v)

    for name, state in found.items():
        assert state["missing"] == 0, name
        assert state["kept"] == state["queryset"], name
    for path, follower in zip(paths, followers, strict=True):
        texts = found[kinds[path]]["texts"]
        expected = [(key, json.loads(text)) for key, text in texts.items()]
        assert list(follower.rows.all().items()) == expected, path
    assert [report["failed"] for report in seen] == [0] * WRITERS
    versions: dict[str, str] = {}
    for report in seen:
        for version, digest in report["seen"].items():
            assert versions.setdefault(version, digest) == digest
    # The one that was cut off came back, and was not told everything again.
    assert followers[0].connections > 1
    assert [follower.syncs for follower in followers] == [1] * len(followers)
    assert sum(report["writes"] for report in seen) > WRITERS
    print(
        f"{sum(report['writes'] for report in seen)} writes, {len(versions)} versions "
        f"seen, {[follower.messages for follower in followers]} messages"
    )
